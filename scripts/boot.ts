/**
 * Boots a kernel in this process, without xend and devices: console_io and the emergency console go to stdout. For looking at
 * the engine and the hypervisor alone.  scripts/boot.ts --help
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { loadKernel } from '../src/guest/kernel.ts';
import { engineMode } from '../src/host/engine-mode.ts';
import { WasmEngine } from '../src/host/wasm-engine.ts';
import { startBootVcpu } from '../src/hypervisor/boot.ts';
import { buildDomain } from '../src/hypervisor/builder/index.ts';
import { crashReport } from '../src/hypervisor/crash.ts';
import { Domain } from '../src/hypervisor/domain.ts';
import { EventChannels } from '../src/hypervisor/event-channels.ts';
import { buildFastExits } from '../src/hypervisor/fast/index.ts';
import { GrantTable } from '../src/hypervisor/grant-table.ts';
import { GuestMemory, planLayout } from '../src/hypervisor/memory.ts';
import { Pace } from '../src/hypervisor/pace.ts';
import { runVcpu } from '../src/hypervisor/run.ts';
import { Vcpu } from '../src/hypervisor/vcpu.ts';
import { STATE } from '../src/x86/state.ts';

const { values } = parseArgs({
  options: {
    kernel: { type: 'string' },
    initrd: { type: 'string' },
    memory: { type: 'string', default: '256' },
    cmdline: { type: 'string', default: 'earlyprintk=xen console=hvc0' },
    seconds: { type: 'string', default: '60' },
    tier: { type: 'string', default: '1' },
    shapes: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help || values.kernel === undefined) {
  console.log(
    'usage: boot.ts --kernel FILE [--initrd FILE] [--memory MIB] [--cmdline TEXT] [--seconds N] [--tier 0|1[:THRESHOLD]] [--shapes]',
  );
  process.exit(values.help ? 0 : 1);
}

const started = process.hrtime.bigint();
const clock = {
  now: () => {
    const now = Number(process.hrtime.bigint() - started);
    // The one place that is passed regularly even when the guest never waits.
    if (now > Number(values.seconds) * 1e9) if (domain) domain.shutdown ??= { reason: -1 };
    return now;
  },
  wallclockNs: () => BigInt(Date.now()) * 1_000_000n,
};
const pages = Number(values.memory) * 256;
const layout = planLayout(pages, 1);
const wasmMemory = new WebAssembly.Memory({
  initial: layout.bytes / 65536,
  maximum: layout.bytes / 65536,
  shared: true,
});
const memory = new GuestMemory(wasmMemory.buffer as SharedArrayBuffer, layout);
const { elf } = loadKernel(readFileSync(values.kernel));
const initrd = values.initrd === undefined ? undefined : readFileSync(values.initrd);
const built = buildDomain(memory, { elf, cmdline: values.cmdline, domid: 1, clock, ...(initrd ? { initrd } : {}) });
/** What a console backend does, on the vCPU's own thread. */
function drainConsole(): void {
  const at = memory.at(built.consoleMfn);
  const produced = memory.view.getUint32(at + 0xc0c, true);
  let consumed = memory.view.getUint32(at + 0xc08, true);
  for (; consumed !== produced; consumed = (consumed + 1) >>> 0) {
    process.stdout.write(String.fromCharCode(memory.u8[at + 0x400 + (consumed & 2047)]!));
  }
  memory.view.setUint32(at + 0xc08, consumed, true);
  events.takePendingForBackend();
  events.setPending(built.consolePort);
}
const events: EventChannels = new EventChannels(memory, 1, drainConsole);
let domain: Domain | undefined;
domain = new Domain(
  {
    domid: 1,
    uuid: new Uint8Array(16),
    memory,
    maxPages: pages,
    events,
    grants: new GrantTable(memory, 1),
  },
  {
    clock,
    log: (level, text) => console.error(`[${level}] ${text}`),
    consoleSink: (bytes) => process.stdout.write(bytes),
  },
);
const [tier, threshold] = values.tier.split(':');
const options = tier === '0' ? { tier1: false as const } : threshold ? { tier1: { threshold: Number(threshold) } } : {};
const mode = engineMode(process.env);
const engine = new WasmEngine(memory, wasmMemory, 0, clock.now, {
  ...options,
  ...mode.engine,
  exitPaths: buildFastExits,
});
const vcpu = new Vcpu(domain, 0, engine);
if (mode.slices !== undefined) vcpu.pace = new Pace(mode.slices());
startBootVcpu(vcpu, built);

const end = clock.now() + Number(values.seconds) * 1e9;
const kick = (vcpu.base + STATE.kick) >>> 2;
for (;;) {
  const result = runVcpu(vcpu);
  if (result.kind === 'crashed') {
    console.error(result.report.join('\n'));
    break;
  }
  if (result.kind === 'shutdown') {
    console.error(`shutdown, reason ${result.reason}`);
    console.error(crashReport(vcpu, 'not crashed').join('\n'));
    break;
  }
  if (clock.now() > end) {
    console.error('time is over');
    break;
  }
  if (result.kind === 'blocked') {
    const wait = Math.min(result.deadline, end) - clock.now();
    if (wait > 0) Atomics.wait(memory.i32, kick, 0, wait / 1e6);
  }
}
console.error(`after ${(clock.now() / 1e9).toFixed(2)} s`, engine.statistics);
