/**
 * A machine without a CPU, for tests of everything around machines (DOMUS_MACHINE names this file): it prints a banner,
 * echoes what is typed, and obeys the words of EXITS, die and hang typed as a line. A kernel whose file begins with "bad"
 * cannot be built, one that begins with "endless" is built for ever. Its disks are real, locks, store and all; whoever
 * writes the frontend's nodes into the store is the guest.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { connectBackendStore } from '../devices/xenstore.ts';
import { connectStoreSocket } from '../host/store-socket.ts';
import { Disks } from './disks.ts';
import { BuildError, type CreateMachine, type MachineExit } from './machine-types.ts';

const EXITS: Record<string, MachineExit> = {
  poweroff: { kind: 'poweroff' },
  reboot: { kind: 'reboot' },
  suspend: { kind: 'suspend' },
  watchdog: { kind: 'watchdog', report: ['fake guest hangs: told to'] },
  crash: { kind: 'crash', report: ['fake guest panicked: told to', 'rip 0000000000000000'] },
};

/** Every grant leads to a page of zeros: a ring on which nothing happens. */
const NO_PAGES = {
  memory: new SharedArrayBuffer(4096),
  acquire: () => 0,
  release() {},
  written() {},
};
const NO_EVENTS = {
  bind: () => ({ notify() {}, close() {} }),
  later: (run: () => void) => void setImmediate(run),
};

export const createMachine: CreateMachine = async (config, ports) => {
  const kernel = readFileSync(config.kernel, 'latin1');
  if (kernel.startsWith('endless')) await new Promise(() => {});
  if (kernel.startsWith('bad')) {
    throw new BuildError(`${config.kernel} is no kernel: it begins with "bad"`);
  }
  const disks = await Disks.open(config, ports);
  const store = connectBackendStore({
    connect: () => connectStoreSocket(config.store.backendSocket),
    after: (ms, run) => void setTimeout(run, ms).unref(),
  });
  disks.attach({ guest: NO_PAGES, events: NO_EVENTS, store: store.client });
  let exited: ((exit: MachineExit) => void) | undefined;
  let running = false;
  let line = '';
  const print = (text: string) => ports.consoleOut(new TextEncoder().encode(text));
  return {
    start() {
      running = true;
      print(`fake kernel, domain ${config.domid}, line: ${config.cmdline}\r\nfake login: `);
    },
    async pause() {
      running = false;
    },
    async unpause() {
      running = true;
    },
    async destroy() {
      running = false;
      exited = undefined;
      await disks.close();
      store.close();
    },
    onExit(callback) {
      exited = callback;
    },
    consoleIn(bytes) {
      if (!running) return 0;
      for (const char of new TextDecoder('latin1').decode(bytes)) {
        if (char !== '\n' && char !== '\r') {
          line += char;
          continue;
        }
        print(`[${line}]\r\n`);
        if (line === 'die') process.exit(9);
        // The process takes no notice of anything any more.
        if (line === 'hang') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
        const exit = EXITS[line];
        line = '';
        if (exit) exited?.(exit);
      }
      return bytes.length;
    },
    info: () => ({
      cpuTimeNs: 1.5e9,
      running: false,
      memoryMiB: config.memoryMiB,
      vcpusOnline: config.vcpus,
      vcpus: Array.from({ length: config.vcpus }, () => ({
        state: running ? 'blocked' : 'paused',
        cpuTimeNs: 1.5e9,
        cpu: 0,
      })),
      disks: disks.numbers(),
      diskIo: disks.io(),
    }),
    openDisk: (disk) => disks.open(disk),
    offerDisk: (vdev) => disks.offer(vdev),
    closeDisk: (vdev) => disks.closeOne(vdev),
    closeDisks: () => disks.close(),
    rename: (name) => disks.rename(name),
    schedule: ({ weight, cap, affinity }) =>
      print(`[weight ${weight} cap ${cap} cpus ${JSON.stringify(affinity)}]\r\n`),
    sendNmi: () => print('[nmi]\r\n'),
    profile: async (seconds) => ({ seconds, samples: 0, idle: 0, guest: [], monitor: [], engine: {}, regions: [] }),
    async dumpCore(file) {
      try {
        writeFileSync(file, `fake core of domain ${config.domid}`, { flag: 'wx' });
      } catch (error) {
        throw new BuildError((error as Error).message);
      }
    },
  };
};
