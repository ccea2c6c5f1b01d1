/** `npm run bench`: how quick domains and the engine are on this machine, beside QEMU's software emulation where there is one. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { prepareGuest } from '../src/guest/index.ts';
import { guestCache } from '../src/host/paths.ts';
import { VERSION } from '../src/xend/routes.ts';
import { type BootPlaces, bootRows, qemuVersion } from './bench/boot.ts';
import { engineRows } from './bench/engine.ts';
import { idleRows } from './bench/idle.ts';
import { printRow, type Row } from './bench/report.ts';
import { OwnXend } from './lib/own-xend.ts';

const PARTS = ['boot', 'engine', 'idle'] as const;

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    runs: { type: 'string', default: '3' },
    only: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  console.log('usage: bench.ts [--json FILE] [--runs N] [--only boot|engine|idle]');
  console.log('  --json  write machine, versions and rows to a file as well');
  console.log('  --runs  boots of each kind; the median counts (3)');
  process.exit(0);
}
const only = values.only as (typeof PARTS)[number] | undefined;
const runs = Number(values.runs);
if ((only !== undefined && !PARTS.includes(only)) || !(runs >= 1)) {
  console.error(`bench.ts: --only is one of ${PARTS.join(', ')}; --runs is 1 or more`);
  process.exit(1);
}
const wanted = (part: (typeof PARTS)[number]): boolean => only === undefined || only === part;
const progress = (text: string): void => console.error(`  ${text}`);

function commit(): string {
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const { status, stdout } = spawnSync('git', ['describe', '--always', '--dirty'], { cwd, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'unknown';
}

const cpus = os.cpus();
const machine = {
  cpu: cpus[0]?.model ?? 'unknown',
  cores: os.availableParallelism(),
  memoryMiB: Math.round(os.totalmem() / (1 << 20)),
  system: `${os.type()} ${os.release()} ${os.machine()}`,
  load: os.loadavg()[0]!,
};
const versions: Record<string, string> = {
  domus: `${VERSION} (${commit()})`,
  node: process.versions.node,
  v8: process.versions.v8,
};

const rows: Row[] = [];
const take = (more: readonly Row[]): void => {
  rows.push(...more);
  for (const row of more) console.log(printRow(row));
};

async function domains(): Promise<void> {
  const cacheDir = guestCache();
  const guest = await prepareGuest({ cacheDir, onProgress: progress });
  versions.kernel = `${guest.release} (${guest.version})`;
  const qemu = qemuVersion();
  if (qemu !== undefined) versions.qemu = qemu;
  const xend = new OwnXend();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => void xend.stop().then(() => process.exit(1)));
  }
  try {
    await xend.start();
    const places: BootPlaces = { guest, xend, cacheDir };
    if (wanted('boot')) take(await bootRows(places, runs, progress));
    if (wanted('idle')) take(await idleRows(places, progress));
  } finally {
    await xend.stop();
  }
}

console.log(
  `${machine.cpu}, ${machine.cores} cores, ${machine.memoryMiB} MiB, ${machine.system}, load ${machine.load.toFixed(1)}`,
);
if (wanted('engine')) take(engineRows());
if (wanted('boot') || wanted('idle')) await domains();
console.log(
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', '),
);
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ machine, versions, rows }, null, 1)}\n`);
}
