/** Tables byte for byte, as the reference and the programs that parse them have them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSxp, type Sxp } from '../config/sxp.ts';
import type { NodeInfo } from '../xend/node-info.ts';
import type { DomainView } from '../xend/view.ts';
import { duration } from './commands/uptime.ts';
import { longText } from './long-list.ts';
import { LIST_LAYOUTS, line } from './table.ts';
import { heading, rowText } from './top/columns.ts';
import { Sampler } from './top/sampler.ts';
import { frame } from './top/screen.ts';

const node: NodeInfo = {
  system: 'Linux',
  host: 'calypso',
  release: '6.1',
  version: '#1',
  machine: 'x86_64',
  cores: 2,
  hyperthreadsPerCore: 1,
  cpuMhz: 2394,
  memoryMiB: 1024,
  freeMemoryMiB: 512,
};
const domain = (more: Partial<DomainView> = {}): DomainView => ({
  domid: 5,
  uuid: '01234567-89ab-cdef-0123-456789abcdef',
  name: 'ttylinux',
  memoryMiB: 64,
  maxmemMiB: 128,
  vcpus: 1,
  state: 'running',
  letters: '-b---',
  cpu: 0,
  cpuTimeS: 3.04,
  upTimeS: 10,
  startTime: 0,
  builds: 1,
  consolePort: 9605,
  ...more,
});
const dom0 = domain({
  uuid: '00000000-0000-0000-0000-000000000000',
  domid: 0,
  name: 'Domain-0',
  letters: 'r----',
  memoryMiB: 251,
  cpuTimeS: 172.2,
  consolePort: undefined,
});

test('%s, %d and %.1f with widths; what is too long pushes the rest', () => {
  assert.equal(line('%-4s|%3d|%6.1f%s', 'ab', 7, 1.25, '!'), 'ab  |  7|   1.3!\n');
  assert.equal(line('%-2s|', 'abc'), 'abc|\n');
});

test("xm list as Xen 2.0's manual shows it", () => {
  const { header, row } = LIST_LAYOUTS.xm;
  assert.equal(
    header({}) + row(dom0, {}) + row(domain(), {}),
    `Name              Id  Mem(MB)  CPU  State  Time(s)  Console
Domain-0           0      251    0  r----    172.2${' '.repeat(8)}
ttylinux           5       64    0  -b---      3.0    9605
`,
  );
});

// biome-ignore format: a table
const STATES: [letters: string, reason: DomainView['shutdownReason'], modern: string][] = [
  ['r----', undefined,  'r-----'],
  ['--p--', undefined,  '--p---'],
  ['---s-', 'poweroff', '---s--'],
  ['---s-', 'reboot',   '---sr-'],
  ['---sc', 'crash',    '---sc-'],
];
for (const [letters, shutdownReason, modern] of STATES) {
  test(`xl list shows ${letters} ${shutdownReason ?? ''} as ${modern} in six columns`, () => {
    const { header, row } = LIST_LAYOUTS.xl;
    assert.equal(header({}), `Name${' '.repeat(36)}    ID   Mem VCPUs\tState\tTime(s)\n`);
    const text = row(domain({ letters, shutdownReason }), {});
    assert.equal(text, `ttylinux${' '.repeat(32)}     5    64     1     ${modern}       3.0\n`);
    assert.equal(text.trim().split(/\s+/).length, 6);
  });
}

test("xl list's further columns stand under their titles", () => {
  const { header, row } = LIST_LAYOUTS.xl;
  const columns = { context: true, cpupool: true, numa: true };
  assert.match(header(columns), /Time\(s\) {3}Security Label {9}Cpupool NODE Affinity\n$/);
  assert.match(row(domain(), columns), /3\.0 {16}- {10}Pool-0 any node\n$/);
});

test('uptimes', () => {
  assert.equal(duration(4 * 3600 + 5 * 60 + 6.9, true), ' 4:05:06');
  assert.equal(duration(86_400 + 4 * 3600 + 5 * 60, true), '1 day,  4:05:00');
  assert.equal(duration(3 * 86_400 + 14 * 3600, false), '3 days, 14:00');
});

test('xm top: the columns of xentop, percentages from the second look on', () => {
  const sampler = new Sampler();
  const look = (cpuTimeS: number, atMs: number) =>
    sampler.rows({ domains: [dom0, domain({ cpuTimeS, name: 'a-long-name-of-a-domain' })], node, atMs }, false);
  const [, first] = look(3, 0);
  assert.equal(first!.cpuPercent, 0);
  const [zero, second] = look(4, 2000);
  assert.equal(second!.cpuPercent, 50);
  assert.equal(
    heading(),
    '      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID',
  );
  assert.equal(
    rowText(second!),
    'a-long-nam --b---          4   50.0      65536    6.3     131072      12.5     1    0        0        0    0        0        0        0          0          0    0',
  );
  assert.match(rowText(zero!), /^ {2}Domain-0 -----r {8}172 {4}0\.0 .* no limit {7}n\/a /);
  assert.equal(look(1, 3000)[1]!.cpuPercent, 0, 'a rebooted domain begins from nothing');
});

test('xm top on a screen: cut to its size, sorted as asked', () => {
  const rows = new Sampler().rows({ domains: [dom0, domain({ cpuTimeS: 500 })], node, atMs: 0 }, false);
  const lines = frame(rows, 1, { columns: 40, rows: 5 }, '12:00:00');
  assert.equal(lines.length, 5);
  assert.ok(lines.every((text) => text.length <= 40));
  assert.match(lines[0]!, /^xentop - 12:00:00 {3}sorted by CPU\(sec\)/);
  assert.match(lines[1]!, /^2 domains: 1 running, 1 blocked/);
  assert.match(lines[4]!, /^ {2}ttylinux --b---/);
});

test('list -l has one line with the word status: first the domain’s number, then the console’s word', () => {
  const console = { id: 5, status: 'listening', attached: 0, bytesOut: 0, bytesIn: 0 } as const;
  const text = longText(domain({ console }));
  const [first, ...more] = text.split('\n').filter((row) => row.includes('status'));
  assert.match(first!, /^ {4}\(status 2\) \(console \(status listening\)/);
  assert.deepEqual(more, []);
  const [sxp] = parseSxp(text) as [Sxp[]];
  const row = (of: readonly Sxp[], head: string) => of.find((one) => Array.isArray(one) && one[0] === head) as Sxp[];
  assert.deepEqual(row(sxp, 'status'), ['status', '2']);
  assert.deepEqual(row(row(sxp, 'console'), 'status'), ['status', 'listening']);
  // A short console fits on a line of its own, and a domain need not have one.
  assert.match(
    longText(domain({ console, consolePort: undefined })),
    /^ {4}\(status 2\) \(console \(status listening\)/m,
  );
  assert.match(longText(domain({ state: 'paused', letters: '--p--' })), /^ {4}\(status 1\)$/m);
  assert.match(longText(domain({ state: 'shutdown', letters: '---s-' })), /\(status 0\)/);
  assert.match(longText(domain({ state: 'shutdown', letters: '----c' })), /\(status 4\)/);
});
