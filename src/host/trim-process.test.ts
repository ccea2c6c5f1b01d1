/** When an idle process gives memory back, and that it goes on after it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { cleanMappings, processTrimmer, thisProcess } from './trim-process.ts';

test('memory is given back once the process has worked and is idle, not while it works, and not again without work', () => {
  const process_ = { ms: 0, cpu: 0, times: 0 };
  const look = processTrimmer({
    now: () => process_.ms,
    cpuMs: () => process_.cpu,
    giveBack: () => process_.times++,
  });
  const after = (ms: number, cpu: number): number => {
    process_.ms += ms;
    process_.cpu += cpu;
    look();
    return process_.times;
  };
  for (let i = 0; i < 5; i++) assert.equal(after(10_000, 9_000), 0);
  assert.equal(after(10_000, 20), 1);
  for (let i = 0; i < 200; i++) assert.equal(after(10_000, 20), 1);
  assert.equal(after(10_000, 2_000), 1);
  assert.equal(after(10_000, 20), 2);
});

test('only mappings of the file itself that nobody has written are dropped', () => {
  const smaps = `00400000-0082e000 r--p 00000000 fe:00 1 /opt/node
Rss: 4280 kB
Private_Dirty: 0 kB
Anonymous: 0 kB
0082e000-03489000 r-xp 0042e000 fe:00 1 /opt/node
Private_Dirty:         0 kB
Anonymous:             0 kB
03489000-0348a000 r--p 03088000 fe:00 1 /opt/node
Private_Dirty:         4 kB
Anonymous:             4 kB
0348a000-0348b000 rw-p 03089000 fe:00 1 /opt/node
Private_Dirty:         0 kB
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 2 /lib/libc.so.6
Private_Dirty:         0 kB
Anonymous:             0 kB
`;
  assert.deepEqual(cleanMappings(smaps, '/opt/node'), [
    { start: 0x400000, end: 0x82e000 },
    { start: 0x82e000, end: 0x3489000 },
  ]);
});

test('a process goes on after it has given everything back, with fewer pages of files', (t) => {
  const filePages = (): number => Number(/^RssFile:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]);
  const { giveBack } = thisProcess();
  if (giveBack === undefined) return t.skip('needs koffi and glibc');
  const before = filePages();
  giveBack();
  assert.ok(filePages() < before, `${before} KiB before`);
  assert.deepEqual(new Function('return [1, 2].map((n) => n * n)')(), [1, 4]);
});
