/**
 * The program of a monitor process: its sources or, once they have been joined, one file for each of its threads. Node takes about a millisecond for a module, whatever is in it, and a monitor has more than three hundred; joined they
 * load in a third of the time. In a package they are joined from the start (scripts/pack.ts); in a checkout xend has it done
 * when it starts, with a development tool, and without that the sources do.
 *
 *   node monitor-program.ts FOLDER   joins the sources of this checkout into FOLDER, which appears when it is complete
 */
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'esbuild';
import { joinedFrom, sourceHash } from '../host/engine-code.ts';

/** As it lies in the checkout or the package. */
export const MONITOR = fileURLToPath(new URL('../monitor/main.ts', import.meta.url));
/** Each of them becomes a file with all that it imports. */
const PARTS = ['main', 'vcpu-worker', 'translator-worker'];

let joined: string | undefined;

/** From now on monitors run what is joined in `folder`, as soon as it is there. */
export function preferJoined(folder: string): void {
  joined = path.join(folder, 'main.mjs');
}

export function monitorProgram(): string {
  return joined !== undefined && existsSync(joined) ? joined : MONITOR;
}

/** Node's own modules: an import asks for all that they export, of which some is loaded only then (streams, WebCrypto). */
const builtins: Plugin = {
  name: 'builtins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /./ }, ({ path: name }) =>
      isBuiltin(name) ? { path: name, namespace: 'builtin' } : undefined,
    );
    onLoad({ filter: /./, namespace: 'builtin' }, ({ path: name }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(name)});`,
    }));
  },
};

/** Joins the parts of a monitor, PART`from` in `folder` each, into files PART`to`. */
export async function joinMonitor(folder: string, from: string, into: string, to: string): Promise<void> {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    entryPoints: PARTS.map((part) => path.join(folder, `${part}${from}`)),
    // The files' names stand above what came from them, from here on.
    absWorkingDir: path.dirname(path.dirname(folder)),
    outdir: into,
    outExtension: { '.js': to },
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    charset: 'utf8',
    banner: { js: joinedFrom(sourceHash()) },
    external: ['koffi'],
    plugins: [builtins],
    logLevel: 'silent',
  });
  for (const file of outputFiles) {
    // The workers' files are named in URLs, where esbuild does not look.
    writeFileSync(file.path, file.text.replaceAll(new RegExp(`(\\./\\w+-worker)${from}\\b`, 'g'), `$1${to}`));
  }
}

if (import.meta.main) {
  const folder = path.resolve(process.argv[2]!);
  const making = mkdtempSync(`${folder}.`);
  try {
    await joinMonitor(path.dirname(MONITOR), '.ts', making, '.mjs');
    renameSync(making, folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
}
