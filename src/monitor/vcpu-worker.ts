/**
 * The thread of one vCPU: engine and hypervisor over the domain's shared memory. It runs until the domain ends or it is told
 * to stop; waiting is done here, asleep in the kernel. It hears the device thread through CONTROL_VCPU.command and
 * STATE.kick only, as its event loop stands still while the guest runs.
 */
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import path from 'node:path';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { SHUTDOWN } from '../abi/numbers.ts';
import { engineMode } from '../host/engine-mode.ts';
import { RegionFolder } from '../host/regions/kept.ts';
import { regionVersion } from '../host/regions/kept-files.ts';
import { TranslatorThread } from '../host/regions/translator.ts';
import { heapTrimmer } from '../host/trim-heap.ts';
import { WasmEngine } from '../host/wasm-engine.ts';
import { type BootFacts, startBootVcpu } from '../hypervisor/boot.ts';
import { CONTROL_VCPU, controlVcpu, VcpuActivity, VcpuCommand } from '../hypervisor/control.ts';
import { crashReport } from '../hypervisor/crash.ts';
import { Domain } from '../hypervisor/domain.ts';
import { EventChannels } from '../hypervisor/event-channels.ts';
import { buildFastExits } from '../hypervisor/fast/index.ts';
import { GrantTable } from '../hypervisor/grant-table.ts';
import { GuestMemory, type MemoryLayout } from '../hypervisor/memory.ts';
import { Pace } from '../hypervisor/pace.ts';
import type { LogLevel } from '../hypervisor/ports.ts';
import { runVcpu } from '../hypervisor/run.ts';
import { updateVcpuTime } from '../hypervisor/time.ts';
import { Vcpu } from '../hypervisor/vcpu.ts';
import { STATE } from '../x86/state.ts';
import { type ClockOrigin, domainClock } from './clock.ts';
import { CpuCap } from './cpu-cap.ts';
import type { VcpuProfile } from './profile/types.ts';
import { VcpuSampler } from './profile/vcpu-sampler.ts';

/** What it is started with, before there is a domain: where generated code is kept, the engine's own, and what it has made of guests' code. */
export interface VcpuFolders {
  readonly engine: string;
  readonly regions: string;
}

/** What it is to run: its first message. */
export interface VcpuWorkerData {
  readonly wasmMemory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  readonly domid: number;
  readonly uuid: Uint8Array;
  readonly maxPages: number;
  readonly origin: ClockOrigin;
  readonly boot: BootFacts;
}

/** What the thread tells its domain's main thread. */
export type VcpuMessage =
  /** The thread as the host's kernel numbers it, 0 where that cannot be known. */
  | { readonly kind: 'ready'; readonly thread: number }
  /** The guest sent events to backends. */
  | { readonly kind: 'events' }
  | { readonly kind: 'console'; readonly bytes: Uint8Array }
  | { readonly kind: 'log'; readonly level: LogLevel; readonly text: string }
  /** A thread is wanted that translates what is ordered through this port (translator-worker.ts). */
  | { readonly kind: 'translator'; readonly port: MessagePort }
  | { readonly kind: 'paused' }
  | { readonly kind: 'profile'; readonly profile: VcpuProfile }
  | { readonly kind: 'stopped' }
  /** Of its own will: power off, reboot, suspend. */
  | { readonly kind: 'shutdown'; readonly reason: number }
  | { readonly kind: 'crashed'; readonly report: readonly string[]; readonly watchdog?: boolean };

/** Waits that are long enough to tidy up in. */
const TRIM_WAIT_NS = 50e6;

/** SHUTDOWN reasons that are no good end. */
const CRASHES: Readonly<Record<number, string>> = {
  [SHUTDOWN.crash]: 'the guest reported a crash of its own, as Linux does after a kernel panic',
  [SHUTDOWN.watchdog]: "the guest's watchdog found it hanging",
  [SHUTDOWN.soft_reset]: 'the guest asked for a soft reset, which does not exist here',
};

const port = parentPort!;
const folders = workerData as VcpuFolders;
const mode = engineMode(process.env);
const version = regionVersion();
const translator = new TranslatorThread((to) => port.postMessage({ kind: 'translator', port: to }, [to]));
const kept = mode.keepsRegions
  ? new RegionFolder(
      folders.regions,
      version,
      (regions) => translator.keep(folders.regions, version, regions),
      mode.waits ? undefined : translator,
    )
  : undefined;
// The domain is built meanwhile.
const [data] = (await once(port, 'message')) as [VcpuWorkerData];
const say = (message: VcpuMessage): void => port.postMessage(message);

const memory = new GuestMemory(data.wasmMemory.buffer as SharedArrayBuffer, data.layout);
const clock = domainClock(data.origin);
const domain = new Domain(
  {
    domid: data.domid,
    uuid: data.uuid,
    memory,
    maxPages: data.maxPages,
    events: new EventChannels(memory, data.domid, () => say({ kind: 'events' })),
    grants: new GrantTable(memory, data.domid),
  },
  {
    clock,
    log: (level, text) => say({ kind: 'log', level, text }),
    consoleSink: (bytes) => say({ kind: 'console', bytes: bytes.slice() }),
  },
);
const engine = new WasmEngine(memory, data.wasmMemory, 0, clock.now, {
  ...mode.engine,
  codeFolder: folders.engine,
  exitPaths: buildFastExits,
  kept,
  translator: mode.waits ? undefined : translator,
});
const vcpu = new Vcpu(domain, 0, engine);
if (mode.slices !== undefined) vcpu.pace = new Pace(mode.slices());
startBootVcpu(vcpu, data.boot);

const trim = heapTrimmer();
const kick = (vcpu.base + STATE.kick) >>> 2;
const command = controlVcpu(vcpu.id, CONTROL_VCPU.command) >>> 2;
const activity = controlVcpu(vcpu.id, CONTROL_VCPU.activity) >>> 2;
const cpuTime = controlVcpu(vcpu.id, CONTROL_VCPU.cpuTime);
const runningSince = controlVcpu(vcpu.id, CONTROL_VCPU.runningSince);
let runs = false;
/** The guest has begun to run. */
let alive = false;
const become = (what: number): void => {
  const now = clock.now();
  if (runs) {
    const used = memory.view.getFloat64(cpuTime, true) + now - memory.view.getFloat64(runningSince, true);
    memory.view.setFloat64(cpuTime, used, true);
  }
  runs = what === VcpuActivity.running;
  memory.view.setFloat64(runningSince, now, true);
  Atomics.store(memory.i32, activity, what);
};

/** Pauses or stops as commanded; true when the thread is to end. */
function obey(): boolean {
  for (;;) {
    const wanted = Atomics.compareExchange(memory.i32, command, VcpuCommand.look, VcpuCommand.run);
    if (wanted === VcpuCommand.stop) return true;
    if (wanted !== VcpuCommand.pause) break;
    become(VcpuActivity.paused);
    say({ kind: 'paused' });
    const since = clock.now();
    Atomics.wait(memory.i32, command, VcpuCommand.pause);
    if (alive) resumed(clock.now() - since);
  }
  lookAround();
  return false;
}

/**
 * The guest's clocks ran on while it was paused, as Xen's do: time of day stays right. It is told, so that Linux does not take
 * the gap for a CPU that hung; and its watchdogs wait that much longer.
 */
function resumed(pausedNs: number): void {
  vcpu.timers.postponeWatchdogs(pausedNs);
  updateVcpuTime(vcpu, true);
}

/** CPU time of all of the domain's threads: the cap is on what the host pays for it. */
const cpuUsed = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
};
const capWord = controlVcpu(vcpu.id, CONTROL_VCPU.cap) >>> 2;
const profileWord = controlVcpu(vcpu.id, CONTROL_VCPU.profile) >>> 2;
const nmiWord = controlVcpu(vcpu.id, CONTROL_VCPU.nmi) >>> 2;
let capPercent = 0;
let cap: CpuCap | undefined;
let sampler: VcpuSampler | undefined;

/** Take up what the device thread has changed in our record. */
function lookAround(): void {
  if (Atomics.exchange(memory.i32, nmiWord, 0) !== 0) vcpu.nmiPending = true;
  observe(Atomics.load(memory.i32, profileWord));
  const percent = Atomics.load(memory.i32, capWord);
  if (percent === capPercent) return;
  capPercent = percent;
  cap = percent === 0 ? undefined : new CpuCap(percent, clock.now(), cpuUsed());
  // With a cap the run loop comes back at once, for its first turn.
  vcpu.runUntil = cap ? 0 : Number.POSITIVE_INFINITY;
}

/** Begins, goes on with or ends a profile; `wanted` as in CONTROL_VCPU.profile. */
function observe(wanted: number): void {
  if (wanted !== 0) {
    if (sampler) sampler.sample();
    else sampler = new VcpuSampler(memory, vcpu.base, engine, wanted - 1);
  } else if (sampler) {
    say({ kind: 'profile', profile: sampler.end() });
    sampler = undefined;
  }
}

/** Before running on under a cap: rests if credit is used up. */
function takeTurn(limit: CpuCap): void {
  for (;;) {
    const now = clock.now();
    const turn = limit.turn(now, cpuUsed());
    if ('runUntil' in turn) {
      vcpu.runUntil = turn.runUntil;
      return;
    }
    become(VcpuActivity.idle);
    // Any other command than to run ends the rest.
    if (Atomics.wait(memory.i32, command, VcpuCommand.run, (turn.restUntil - now) / 1e6) !== 'timed-out') return;
  }
}

/** The guest ended itself; if not in good order, the state that it was in is told as of any crash. */
function ended(reason: number): VcpuMessage {
  const crash = CRASHES[reason];
  if (!crash) return { kind: 'shutdown', reason };
  return { kind: 'crashed', report: crashReport(vcpu, crash), watchdog: reason === SHUTDOWN.watchdog };
}

function live(): VcpuMessage {
  alive = true;
  for (;;) {
    become(VcpuActivity.running);
    const result = runVcpu(vcpu);
    switch (result.kind) {
      case 'blocked': {
        become(VcpuActivity.idle);
        const wait = result.deadline - clock.now();
        if (wait > TRIM_WAIT_NS) {
          engine.keepRegions();
          translator.rest();
          trim();
          while (Atomics.load(memory.i32, kick) === 0 && clock.now() < result.deadline && engine.planWarm());
        }
        const left = result.deadline - clock.now();
        if (left > 0) Atomics.wait(memory.i32, kick, 0, left / 1e6);
        break;
      }
      case 'paused':
        if (obey()) return { kind: 'stopped' };
        break;
      case 'preempted':
        if (cap) takeTurn(cap);
        break;
      case 'shutdown':
        return ended(result.reason);
      case 'crashed':
        return { kind: 'crashed', report: result.report };
    }
  }
}

/** Linux names the thread that asks. */
function threadNumber(): number {
  try {
    return Number(path.basename(readlinkSync('/proc/thread-self')));
  } catch {
    return 0;
  }
}

say({ kind: 'ready', thread: threadNumber() });
const end = obey() ? ({ kind: 'stopped' } as const) : live();
become(VcpuActivity.ended);
engine.keepRegions();
translator.end();
say(end);
port.close();
