/** `xm top` on a terminal: the whole screen, drawn again each time, until q. The terminal is left as it was found. */
import { COLUMNS, heading, type Row, rowText } from './columns.ts';

const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const HELP = 'q quits, s sorts by the next column, space looks again';
/** Columns that s goes through; the first is the order that xend lists in. */
const SORTS = [undefined, ...COLUMNS.filter(({ value }) => value)];

export interface Screen {
  readonly columns: number;
  readonly rows: number;
}

/** What is on the screen: the summary, the table, cut to its size. */
export function frame(rows: readonly Row[], sort: number, { columns, rows: height }: Screen, time: string): string[] {
  const count = (letter: string) => rows.filter(({ domain }) => domain.letters.includes(letter)).length;
  const node = rows[0]?.node;
  const by = SORTS[sort % SORTS.length];
  const sorted = by?.value ? [...rows].sort((a, b) => by.value!(b) - by.value!(a)) : rows;
  const used = node ? node.memoryMiB - node.freeMemoryMiB : 0;
  const lines = [
    `xentop - ${time}   sorted by ${by?.title ?? 'NAME'}   ${HELP}`,
    `${rows.length} domains: ${count('r')} running, ${count('b')} blocked, ${count('p')} paused, ${count('c')} crashed, 0 dying, ${count('s')} shutdown`,
    `Mem: ${(node?.memoryMiB ?? 0) * 1024}k total, ${used * 1024}k used, ${(node?.freeMemoryMiB ?? 0) * 1024}k free    CPUs: ${node?.cores ?? 0} @ ${node?.cpuMhz ?? 0}MHz`,
    heading(),
    ...sorted.map(rowText),
  ];
  return lines.slice(0, height).map((text) => text.slice(0, columns));
}

/** Draws what `look` finds every `delayMs`; resolves when the person has had enough, or after so many times. */
export async function watch(look: () => Promise<Row[]>, delayMs: number, times: number): Promise<void> {
  const { stdin, stdout } = process;
  let sort = 0;
  let done = false;
  let wake: (() => void) | undefined;
  const restore = () => {
    stdout.write(LEAVE);
    if (stdin.isTTY) stdin.setRawMode(false);
  };
  const typed = (bytes: Buffer) => {
    const key = bytes.toString('latin1').toLowerCase();
    if (key === 'q' || key === '\x03' || key === '\x1b') done = true;
    if (key === 's') sort++;
    wake?.();
  };
  const ended = () => process.exit(0);
  stdout.write(ENTER);
  process.once('exit', restore);
  process.once('SIGTERM', ended);
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on('data', typed);
  try {
    for (let seen = 0; !done && seen < times; seen++) {
      const rows = await look();
      const [top, ...rest] = frame(rows, sort, stdout, new Date().toTimeString().slice(0, 8));
      stdout.write(`\x1b[H${[`\x1b[1m${top}\x1b[0m`, ...rest].map((text) => `${text}\x1b[K`).join('\r\n')}\x1b[J`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, delayMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  } finally {
    stdin.off('data', typed);
    stdin.pause();
    process.off('exit', restore);
    process.off('SIGTERM', ended);
    restore();
  }
}
