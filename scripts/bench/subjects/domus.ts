/** The programs as processes of a domain, made and used with `xm` as anyone would. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Guest } from '../../../src/guest/index.ts';
import type { OwnXend } from '../../lib/own-xend.ts';
import type { BenchDisk } from '../disk.ts';
import type { Row } from '../report.ts';
import { guestWords, processCpuMs, Runner, type Subject } from '../subject.ts';

export const MEMORY_MIB = 256;

export interface DomusOptions {
  /** Further lines of the domain's configuration. */
  readonly config: readonly string[];
  /** Print a profile of so many seconds beside each run. */
  readonly profileS: number | undefined;
}

/** From the engine's statistics, over the boot and all programs. */
function translationRows({
  regionMs = 0,
  regionMsLongest = 0,
  regionWaits = 0,
  regionWaitsLong = 0,
  regionBytesLive = 0,
  regionsLive = 0,
}: Readonly<Record<string, number>>): Row[] {
  // biome-ignore format: a table
  return [
    { id: 'translation.longest', what: 'translation: the longest wait of the guest for it', unit: 'ms', value: regionMsLongest,
      beside: { what: `${regionWaitsLong} of ${regionWaits} waits above 5 ms, on average`, value: regionMs / Math.max(1, regionWaits) } },
    { id: 'translation.bytes', what: 'translation: WebAssembly that is in use', unit: 'MiB', value: regionBytesLive / (1 << 20),
      beside: { what: 'regions', value: regionsLive } },
  ];
}

export async function startDomus(
  disk: BenchDisk,
  guest: Guest,
  xend: OwnXend,
  { config: extra, profileS }: DomusOptions,
): Promise<Subject> {
  const config = path.join(xend.folder, 'bench.cfg');
  const lines = [
    `kernel  = ${JSON.stringify(guest.kernel)}`,
    `ramdisk = ${JSON.stringify(guest.initrd)}`,
    `memory  = ${MEMORY_MIB}`,
    'name    = "bench"',
    `disk    = ['file:${disk.image},sda1,r']`,
    'root    = "/dev/sda1 ro"',
    'extra   = "quiet"',
    ...extra,
  ];
  await writeFile(config, `${lines.join('\n')}\n`);
  const xm = xend.spawn('xm', ['create', '-c', config], { stdio: ['pipe', 'pipe', 'pipe'] });
  let pid: number | undefined;
  const runner = new Runner(xm, { cpu: () => (pid === undefined ? undefined : processCpuMs(pid)) });
  await runner.ready();
  pid = xend.monitors()[0]?.pid;
  return {
    name: 'domus',
    versions: {},
    async run(program) {
      const profile = profileS === undefined ? undefined : xend.run('xm', ['profile', 'bench', String(profileS)]);
      const timing = await runner.run(guestWords(program));
      if (profile) console.log((await profile).output);
      return timing;
    },
    async measurements() {
      const client = xend.client();
      const { engine } = await client.call('POST /domains/:name/profile', { name: 'bench', seconds: 0.1 });
      client.close();
      return translationRows(engine);
    },
    async stop() {
      await xend.run('xm', ['destroy', 'bench']);
    },
  };
}
