/**
 * A console's TCP port on the loopback addresses, 9600 + domain id in the manual: for telnet, xencons and whatever speaks
 * plain bytes. Every user of the machine can connect to a loopback port, so whoever is neither root nor the owner of this
 * process is sent away before a byte of the console is sent or a byte is read.
 */
import net from 'node:net';
import { canTellPeers, peerUid } from '../../host/peer-uid.ts';

const LOOPBACK = '127.0.0.1';
/** Where a machine has it, `localhost` is this one first for many clients. */
const LOOPBACK_IPV6 = '::1';
const REFUSED = 'this console belongs to another user\r\n';

export class PortInUse extends Error {
  override readonly name = 'PortInUse';
}

export class ConsolePort {
  readonly #attach: (socket: net.Socket, who: string) => void;
  readonly #log: (text: string) => void;
  readonly #servers: net.Server[] = [];
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
    if (this.#servers.length > 0) return;
    if (!canTellPeers()) {
      if (fixed) throw new PortInUse(`console port ${port}: this system does not tell who connects to it`);
      return;
    }
    try {
      await this.#listen(port, LOOPBACK);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (fixed)
        throw new PortInUse(
          code === 'EADDRINUSE' ? `console port in use: ${port}` : `console port ${port}: ${message}`,
        );
      await this.#listen(0, LOOPBACK);
      this.#log(`console port ${port} cannot be had (${code ?? message}): it is ${this.#port} instead`);
    }
    // A machine without IPv6, or with another's port there, has the console on the one address.
    await this.#listen(this.#port!, LOOPBACK_IPV6).catch(() => {});
  }

  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  }

  #listen(port: number, host: string): Promise<void> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port, host, exclusive: true }, () => {
        server.off('error', reject);
        server.on('error', (error) => this.#log(`console port: ${error.message}`));
        this.#servers.push(server);
        this.#port = (server.address() as net.AddressInfo).port;
        resolve();
      });
    });
  }

  #accept(socket: net.Socket): void {
    const { remoteAddress = '', remotePort = 0, localAddress = LOOPBACK, localPort = 0 } = socket;
    const peerAddress = remoteAddress.replace(/^::ffff:/, '');
    const uid = peerUid({ peerAddress, peerPort: remotePort, ownAddress: localAddress, ownPort: localPort });
    if (uid !== undefined && (uid === 0 || uid === process.getuid?.())) {
      const address = net.isIPv6(peerAddress) ? `[${peerAddress}]` : peerAddress;
      this.#attach(socket, `${address}:${remotePort}`);
      return;
    }
    // Each once in a while: anybody can make these lines.
    if (this.#refusals++ % 100 === 0) this.#log(`console port ${localPort}: user ${uid ?? 'unknown'} was sent away`);
    socket.on('error', () => {});
    socket.end(REFUSED, () => socket.destroy());
  }
}
