/**
 * A console's TCP port on the loopback address, 9600 + domain id in the manual: for telnet, xencons and whatever speaks
 * plain bytes. Every user of the machine can connect to a loopback port, so whoever is neither root nor the owner of this
 * process is sent away before a byte of the console is sent or a byte is read.
 */
import net from 'node:net';
import { canTellPeers, peerUid } from '../../host/peer-uid.ts';

const LOOPBACK = '127.0.0.1';
const REFUSED = 'this console belongs to another user\r\n';

export class PortInUse extends Error {
  override readonly name = 'PortInUse';
}

export class ConsolePort {
  readonly #attach: (socket: net.Socket, who: string) => void;
  readonly #log: (text: string) => void;
  #server: net.Server | undefined;
  #port: number | undefined;
  #refusals = 0;

  constructor(attach: (socket: net.Socket, who: string) => void, log: (text: string) => void) {
    this.#attach = attach;
    this.#log = log;
  }

  get port(): number | undefined {
    return this.#port;
  }

  /** A port that is in use: PortInUse if it was asked for by number, otherwise any free one instead. */
  async open(port: number, fixed: boolean): Promise<void> {
    if (this.#server) return;
    if (!canTellPeers()) {
      if (fixed) throw new PortInUse(`console port ${port}: this system does not tell who connects to it`);
      return;
    }
    try {
      await this.#listen(port);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (fixed)
        throw new PortInUse(
          code === 'EADDRINUSE' ? `console port in use: ${port}` : `console port ${port}: ${message}`,
        );
      await this.#listen(0);
      this.#log(`console port ${port} cannot be had (${code ?? message}): it is ${this.#port} instead`);
    }
  }

  close(): Promise<void> {
    return new Promise((resolve) => (this.#server ? this.#server.close(() => resolve()) : resolve()));
  }

  #listen(port: number): Promise<void> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port, host: LOOPBACK, exclusive: true }, () => {
        server.off('error', reject);
        server.on('error', (error) => this.#log(`console port: ${error.message}`));
        this.#server = server;
        this.#port = (server.address() as net.AddressInfo).port;
        resolve();
      });
    });
  }

  #accept(socket: net.Socket): void {
    const { remoteAddress = '', remotePort = 0, localPort = 0 } = socket;
    const peerAddress = remoteAddress.replace(/^::ffff:/, '');
    const uid = peerUid({ peerAddress, peerPort: remotePort, ownAddress: LOOPBACK, ownPort: localPort });
    if (uid !== undefined && (uid === 0 || uid === process.getuid?.())) {
      this.#attach(socket, `${peerAddress}:${remotePort}`);
      return;
    }
    // Each once in a while: anybody can make these lines.
    if (this.#refusals++ % 100 === 0) this.#log(`console port ${localPort}: user ${uid ?? 'unknown'} was sent away`);
    socket.on('error', () => {});
    socket.end(REFUSED, () => socket.destroy());
  }
}
