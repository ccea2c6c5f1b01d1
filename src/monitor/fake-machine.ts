/**
 * A machine without a CPU, for tests of everything around machines (DOMUS_MACHINE names this file): it prints a banner,
 * echoes what is typed, and obeys the words poweroff, reboot, crash, suspend and die typed as a line. A kernel whose file
 * begins with "bad" cannot be built, one that begins with "endless" is built for ever.
 */
import { readFileSync } from 'node:fs';
import { BuildError, type CreateMachine, type MachineExit } from './machine-types.ts';

const EXITS: Record<string, MachineExit> = {
  poweroff: { kind: 'poweroff' },
  reboot: { kind: 'reboot' },
  suspend: { kind: 'suspend' },
  crash: { kind: 'crash', report: ['fake guest panicked: told to', 'rip 0000000000000000'] },
};

export const createMachine: CreateMachine = async (config, ports) => {
  const kernel = readFileSync(config.kernel, 'latin1');
  if (kernel.startsWith('endless')) await new Promise(() => {});
  if (kernel.startsWith('bad')) {
    throw new BuildError(`${config.kernel} is no kernel: it begins with "bad"`);
  }
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
        const exit = EXITS[line];
        line = '';
        if (exit) exited?.(exit);
      }
      return bytes.length;
    },
    info: () => ({ cpuTimeNs: 1.5e9, running: false, memoryMiB: config.memoryMiB, vcpusOnline: config.vcpus }),
  };
};
