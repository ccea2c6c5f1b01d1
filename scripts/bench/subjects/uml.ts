/** The programs as processes of User-Mode Linux: Debian's build of it, with the same disk. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { onPath } from '../../../src/guest/debian.ts';
import type { BenchDisk } from '../disk.ts';
import { guestWords, Missing, Runner, type Subject } from '../subject.ts';

const PROGRAM = 'linux.uml';

function umlVersion(): string {
  if (!onPath(PROGRAM)) throw new Missing('User-Mode Linux is not installed (package user-mode-linux)');
  return spawnSync(PROGRAM, ['--version'], { encoding: 'utf8' }).stdout.trim();
}

/** `folder`: for its control files. */
export async function startUml(disk: BenchDisk, folder: string, memoryMiB: number): Promise<Subject> {
  const version = umlVersion();
  const control = path.join(folder, 'uml');
  mkdirSync(control);
  const args = [
    `mem=${memoryMiB}M`,
    `uml_dir=${control}`,
    ...[`ubd0r=${disk.image}`, 'root=/dev/ubda', 'ro', 'init=/sbin/init', 'quiet'],
    ...['con=null', 'con0=fd:0,fd:1'],
  ];
  // A process group of its own: its guest processes are processes of this machine.
  const child = spawn(PROGRAM, args, { stdio: 'pipe', detached: true });
  const kill = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // All of them have ended.
    }
  };
  process.once('exit', kill);
  const runner = new Runner(child);
  await runner.ready();
  return {
    name: 'uml',
    versions: { uml: version },
    run: (program) => runner.run(guestWords(program)),
    async stop() {
      kill();
      process.off('exit', kill);
    },
  };
}
