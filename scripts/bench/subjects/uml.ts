/** The programs as processes of User-Mode Linux: Debian's build of it, with the same disk. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { onPath } from '../../../src/guest/debian.ts';
import type { BenchDisk } from '../disk.ts';
import { Missing } from '../missing.ts';
import { guestWords, Runner, type Subject } from '../subject.ts';

export const UML = 'linux.uml';

export interface UmlMachine {
  /** A folder for its control files, which is made. */
  readonly control: string;
  readonly disk: string;
  readonly readOnly: boolean;
  readonly memoryMiB: number;
  /** Further words of its kernel line. */
  readonly options: readonly string[];
}

function umlVersion(): string {
  if (!onPath(UML)) throw new Missing('User-Mode Linux is not installed (package user-mode-linux)');
  return spawnSync(UML, ['--version'], { encoding: 'utf8' }).stdout.trim();
}

/** With its console on the pipes. It ends with this process at the latest. */
export function spawnUml({ control, disk, readOnly, memoryMiB, options }: UmlMachine): {
  readonly child: ChildProcessWithoutNullStreams;
  kill(): void;
} {
  mkdirSync(control);
  const args = [
    `mem=${memoryMiB}M`,
    `uml_dir=${control}`,
    ...[`ubd0${readOnly ? 'r' : ''}=${disk}`, 'root=/dev/ubda', 'ro', 'quiet', ...options],
    ...['con=null', 'con0=fd:0,fd:1'],
  ];
  // A process group of its own: its guest processes are processes of this machine.
  const child = spawn(UML, args, { stdio: 'pipe', detached: true });
  const end = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // All of them have ended.
    }
  };
  process.once('exit', end);
  const kill = () => {
    end();
    process.off('exit', end);
  };
  return { child, kill };
}

/** `folder`: for its control files. */
export async function startUml(disk: BenchDisk, folder: string, memoryMiB: number): Promise<Subject> {
  const version = umlVersion();
  const control = path.join(folder, 'uml');
  const options = ['init=/sbin/init'];
  const { child, kill } = spawnUml({ control, disk: disk.image, readOnly: true, memoryMiB, options });
  const runner = new Runner(child);
  await runner.ready();
  return {
    name: 'uml',
    versions: { uml: version },
    run: (program) => runner.run(guestWords(program)),
    async stop() {
      kill();
    },
  };
}
