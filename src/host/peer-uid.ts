/**
 * Whose is the other end of a TCP connection on this machine: the kernel's own table of connections says, on Linux. Where
 * nobody says, nobody may be let in.
 */
import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';

export interface Connection {
  /** As Node has them: IPv4, or IPv6. */
  readonly peerAddress: string;
  readonly peerPort: number;
  readonly ownAddress: string;
  readonly ownPort: number;
}

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'] as const;

/** Columns of a row, Documentation/networking/proc_net_tcp.rst. A connection whose owner closed it has no inode, and uid 0. */
const COLUMN = { local: 1, remote: 2, uid: 7, inode: 9 } as const;

/** An address as the tables have it: each 32-bit word in the byte order of the machine, in hexadecimal. */
export function tableAddress(address: string, port: number, inTable6: boolean): string {
  const ipv4 = address.replace(/^::ffff:(?=\d+\.)/i, '');
  const bytes = ipv4.includes(':') ? bytesOfIpv6(ipv4) : ipv4.split('.').map(Number);
  const mapped = inTable6 && bytes.length === 4 ? [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...bytes] : bytes;
  let text = '';
  for (let at = 0; at < mapped.length; at += 4) {
    const word = mapped.slice(at, at + 4);
    for (const byte of endianness() === 'LE' ? word.reverse() : word) text += byte.toString(16).padStart(2, '0');
  }
  return `${text}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
}

/** Node writes no dotted tail but that of a mapped IPv4 address. */
function bytesOfIpv6(address: string): number[] {
  const [head, tail] = address.split('%')[0]!.split('::');
  const groups = (part: string | undefined) => (part ? part.split(':').map((group) => Number.parseInt(group, 16)) : []);
  const [first, last] = [groups(head), groups(tail)];
  const gap = new Array<number>(Math.max(0, 8 - first.length - last.length)).fill(0);
  return [...first, ...(tail === undefined ? [] : gap), ...last].flatMap((group) => [group >> 8, group & 0xff]);
}

/** The uid that owns the row of the peer's end; undefined when there is no such row, or nobody behind it any more. */
export function ownerInTable(table: string, local: string, remote: string): number | undefined {
  for (const line of table.split('\n')) {
    const columns = line.trim().split(/\s+/);
    if (columns[COLUMN.local] !== local || columns[COLUMN.remote] !== remote) continue;
    if (columns[COLUMN.inode] === '0') continue;
    return Number(columns[COLUMN.uid]);
  }
  return undefined;
}

/** The user at the other end, or undefined when that cannot be told. */
export function peerUid(
  { peerAddress, peerPort, ownAddress, ownPort }: Connection,
  read: (file: string) => string = (file) => readFileSync(file, 'latin1'),
): number | undefined {
  for (const file of TABLES) {
    const inTable6 = file.endsWith('6');
    let table: string;
    try {
      table = read(file);
    } catch {
      continue; // A kernel without IPv6, or no Linux.
    }
    const local = tableAddress(peerAddress, peerPort, inTable6);
    const uid = ownerInTable(table, local, tableAddress(ownAddress, ownPort, inTable6));
    if (uid !== undefined) return uid;
  }
  return undefined;
}

/** Can the table of connections be read at all? */
export function canTellPeers(): boolean {
  try {
    readFileSync(TABLES[0]);
    return true;
  } catch {
    return false;
  }
}
