/** The programs as processes of this machine. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type BenchDisk, nativeCommand } from '../disk.ts';
import type { Program } from '../programs.ts';
import { Runner, type Subject } from '../subject.ts';

export async function startNative({ tree }: BenchDisk): Promise<Subject> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error('the programs are for Linux on x86-64');
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'domus-bench-'));
  const child = spawn(path.join(tree, 'bench/runner'), [path.join(folder, 'output')], {
    stdio: 'pipe',
  });
  const runner = new Runner(child, { ownCpu: true });
  await runner.ready();
  const inTree = (file: string): string => (file.startsWith('/dev/') ? file : path.join(tree, file));
  return {
    name: 'native',
    versions: {},
    run: ({ command, input }: Program) =>
      runner.run([
        inTree(input),
        ...nativeCommand(
          tree,
          command.map((word) => (word.startsWith('/bench/') ? inTree(word) : word)),
        ),
      ]),
    async stop() {
      child.stdin.end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
