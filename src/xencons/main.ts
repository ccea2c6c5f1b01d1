/** `xencons HOST PORT`, xm-xend 1.5: a terminal on a console's TCP port, without the telnet protocol in between. */
import net from 'node:net';
import { joinTerminal } from '../xm/terminal.ts';

const PORT_MAX = 65535;

function connect(host: string, port: number): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, allowHalfOpen: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

async function main([host, text, ...more]: string[]): Promise<number> {
  if (host === undefined || text === undefined || more.length > 0) {
    process.stderr.write('usage: xencons <host> <port>\n');
    return 1;
  }
  const port = /^\d+$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > PORT_MAX) {
    process.stderr.write(`Error: xencons: ${text} is not a port\n`);
    return 1;
  }
  try {
    await joinTerminal(await connect(host, port)).ended;
    return 0;
  } catch (error) {
    process.stderr.write(`Error: cannot reach a console at ${host} port ${port}: ${(error as Error).message}\n`);
    return 1;
  }
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
process.exitCode = await main(process.argv.slice(2));
