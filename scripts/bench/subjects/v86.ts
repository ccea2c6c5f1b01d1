/** The small programs, built for i386, as processes of a 32-bit Linux in v86: a PC emulated in WebAssembly, in a process of its own. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { defaultBootOptions } from '../../../src/config/boot-options.ts';
import { Missing } from '../missing.ts';
import { guestWords, processCpuMs, Runner, type Subject } from '../subject.ts';
import { prepareV86Guest } from './v86-guest.ts';

const MACHINE = fileURLToPath(new URL('v86-machine.ts', import.meta.url));

async function v86Version(): Promise<string> {
  try {
    const file = new URL('../package.json', import.meta.resolve('v86'));
    return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version;
  } catch {
    throw new Missing('v86 is not installed (npm ci with development dependencies)');
  }
}

export async function startV86(
  cacheDir: string,
  memoryMiB: number,
  progress: (text: string) => void,
): Promise<Subject> {
  const version = await v86Version();
  const { bios, vgaBios, kernel, initrd, version: kernelVersion } = await prepareV86Guest(cacheDir, progress);
  const line = `${defaultBootOptions(1)} console=ttyS0 quiet`;
  const child = spawn(process.execPath, [MACHINE, bios, vgaBios, kernel, initrd, String(memoryMiB), line], {
    stdio: 'pipe',
  });
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  const runner = new Runner(child, { cpu: () => processCpuMs(child.pid!) });
  await runner.ready();
  // An idle guest of v86's keeps a CPU busy, which the other subjects would miss: it stands still while it is not its turn.
  const rest = () => void child.kill('SIGSTOP');
  rest();
  return {
    name: 'v86',
    versions: { v86: version, 'v86 kernel': kernelVersion },
    // Debian's programs are for x86-64.
    runs: ({ group }) => group !== 'whole',
    run(program) {
      child.kill('SIGCONT');
      return runner.run(guestWords(program)).finally(rest);
    },
    async stop() {
      kill();
    },
  };
}
