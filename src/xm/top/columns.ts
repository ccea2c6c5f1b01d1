/** The columns of `xentop`, in its order and widths: what xm top prints and what monitors parse (xm-xend 11.4). */
import type { NodeInfo } from '../../xend/node-info.ts';
import type { DomainView } from '../../xend/view.ts';

/** A domain at one moment, with what it used since the moment before. */
export interface Row {
  readonly domain: DomainView;
  readonly node: NodeInfo;
  /** Of one CPU; 0 the first time. */
  readonly cpuPercent: number;
  readonly fullNames: boolean;
}

export interface Column {
  readonly title: string;
  readonly width: number;
  text(row: Row): string;
  /** What a person sorts by: the largest first. Names are sorted by themselves. */
  value?(row: Row): number;
}

const NAME_MAX = 10;
const column = (title: string, width: number, text: Column['text'], value?: Column['value']): Column => ({
  title,
  width,
  text,
  ...(value ? { value } : {}),
});
const kib = (mib: number): string => String(mib * 1024);
const percent = (part: number, { memoryMiB }: NodeInfo): string => ((part * 100) / memoryMiB).toFixed(1);
const none = () => '0';
type DiskIo = NonNullable<DomainView['diskIo']>[number];
/** Of all disks together. */
const disks = ({ domain }: Row, count: (disk: DiskIo) => number): number =>
  (domain.diskIo ?? []).reduce((sum, disk) => sum + count(disk), 0);
const SECTOR = 512;

/** Other letters in other places than `xm list` has them: d s b c p r. */
export function topState({ letters }: DomainView): string {
  const has = (letter: string) => (letters.includes(letter) ? letter : '-');
  return `-${has('s')}${has('b')}${has('c')}${has('p')}${has('r')}`;
}

// biome-ignore format: a table
export const COLUMNS: readonly Column[] = [
  column('NAME',      10, ({ domain, fullNames }) => (fullNames ? domain.name : domain.name.slice(0, NAME_MAX))),
  column('STATE',      6, ({ domain }) => topState(domain)),
  column('CPU(sec)',  10, ({ domain }) => String(Math.floor(domain.cpuTimeS)),                            ({ domain }) => domain.cpuTimeS),
  column('CPU(%)',     6, ({ cpuPercent }) => cpuPercent.toFixed(1),                                      ({ cpuPercent }) => cpuPercent),
  column('MEM(k)',    10, ({ domain }) => kib(domain.memoryMiB),                                          ({ domain }) => domain.memoryMiB),
  column('MEM(%)',     6, ({ domain, node }) => percent(domain.memoryMiB, node)),
  column('MAXMEM(k)', 10, ({ domain }) => (domain.domid === 0 ? 'no limit' : kib(domain.maxmemMiB))),
  column('MAXMEM(%)',  9, ({ domain, node }) => (domain.domid === 0 ? 'n/a' : percent(domain.maxmemMiB, node))),
  column('VCPUS',      5, ({ domain }) => String(domain.vcpus)),
  column('NETS',       4, none),
  column('NETTX(k)',   8, none),
  column('NETRX(k)',   8, none),
  column('VBDS',       4, ({ domain }) => String(domain.config?.disks.length ?? 0)),
  column('VBD_OO',     8, none),
  column('VBD_RD',     8, (row) => String(disks(row, ({ reads }) => reads)),                               (row) => disks(row, ({ reads }) => reads)),
  column('VBD_WR',     8, (row) => String(disks(row, ({ writes }) => writes)),                             (row) => disks(row, ({ writes }) => writes)),
  column('VBD_RSECT', 10, (row) => String(disks(row, ({ readBytes }) => readBytes / SECTOR))),
  column('VBD_WSECT', 10, (row) => String(disks(row, ({ writtenBytes }) => writtenBytes / SECTOR))),
  column('SSID',       4, none),
];

const joined = (texts: readonly string[]): string => texts.map((text, i) => text.padStart(COLUMNS[i]!.width)).join(' ');
export const heading = (): string => joined(COLUMNS.map(({ title }) => title));
export const rowText = (row: Row): string => joined(COLUMNS.map(({ text }) => text(row)));
