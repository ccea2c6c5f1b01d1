/**
 * The direction of imports: which folder of src/ may use which, and which packages. The table is the rule; this program
 * compares it with the code and prints every import that it does not allow. Tests and their helpers may import anything.
 */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

interface Layer {
  /** Folders of src/, single files of them, or, with "type " in front, only the types of either. */
  readonly uses: readonly string[];
  /** Packages and, as "node:", the modules of Node. */
  readonly packages: readonly string[];
}
const layer = (uses: string, packages = ''): Layer => ({ uses: split(uses), packages: split(packages) });
const split = (words: string): string[] => words.split(', ').filter(Boolean);

/** Above: neither Node nor a browser, and no package. Below: adapters and programs. */
const CORE = 'abi, x86, wasm, translate, hypervisor, store, devices';

// biome-ignore format: a table
export const LAYERS: Readonly<Record<string, Layer>> = {
  abi:        layer(''),
  x86:        layer('abi'),
  wasm:       layer(''),
  hypervisor: layer('abi, x86, wasm, type translate/exit-paths.ts'), // fast/ writes code for the engine.
  translate:  layer('abi, x86, wasm, hypervisor/memory.ts'), // Generated code has the layout of the memory in it.
  store:      layer('abi'),
  devices:    layer('abi, hypervisor, store'),
  // ——— the core ends here ———
  host:       layer(CORE, 'node:, koffi'),
  // How a disk's name becomes a number is a rule of the block device; what xend tells about a domain is printed as SXP.
  config:     layer('abi, devices/blk/vdev.ts, type xend/view.ts, type xend/node-info.ts', 'node:, @lezer/python, @lezer/common, @sinclair/typebox, @sinclair/typebox/value'),
  guest:      layer('abi, host', 'node:, seek-bzip'),
  monitor:    layer(`${CORE}, host, guest`, 'node:'),
  xend:       layer(`${CORE}, host, config, guest, monitor`, 'node:, esbuild, fastify, ws, @sinclair/typebox'),
  sdk:        layer('host, config, guest, type xend', 'node:, ws'),
  xm:         layer('abi, host, config, sdk, type xend', 'node:'),
  xencons:    layer('xm/terminal.ts', 'node:'),
  xendomains: layer('host, sdk, xm', 'node:'),
};

/** A statement, a dynamic import, or a file named for a worker or a child process. */
const IMPORTS = [
  /^(?:import|export)\s+(?<type>type\s)?(?:[^'";]*?\sfrom\s+|\s*)'(?<name>[^']+)'/gm,
  /\bimport\((?<type>)'(?<name>[^']+)'\)/g,
  /\bnew URL\((?<type>)'(?<name>\.[^']+\.ts)', import\.meta\.url\)/g,
];
const FOR_TESTS = /(\.test|-for-tests|\/testing)\.ts$/;

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** What is wrong with the imports of one file; `file` is relative to the checkout. */
export function importProblems(file: string, source: string): string[] {
  const from = file.split('/')[1]!;
  const rules = LAYERS[from];
  if (!rules) return [`${file}:1: the folder src/${from} has no row in scripts/layers.ts`];
  const problems: string[] = [];
  for (const pattern of IMPORTS) {
    for (const { index, 0: text, groups } of source.matchAll(pattern)) {
      const name = groups!.name!;
      const problem = judge(from, rules, file, name, groups!.type !== undefined && groups!.type !== '');
      const line = source.slice(0, index + text.lastIndexOf(name)).split('\n').length;
      if (problem) problems.push(`${file}:${line}: ${problem}`);
    }
  }
  return problems;
}

function judge(
  from: string,
  { uses, packages }: Layer,
  file: string,
  name: string,
  types: boolean,
): string | undefined {
  if (!name.startsWith('.')) {
    if (packages.some((allowed) => name === allowed || (allowed === 'node:' && name.startsWith('node:'))))
      return undefined;
    return `src/${from} may not use the package ${name}`;
  }
  const target = path.posix.join(path.posix.dirname(file), name);
  if (!target.startsWith('src/')) return `src/ may not import ${target}`;
  const inside = target.slice('src/'.length);
  const folder = inside.split('/')[0]!;
  if (folder === from) return undefined;
  const names = [inside, folder];
  if (names.some((one) => uses.includes(one))) return undefined;
  const typesAllowed = names.some((one) => uses.includes(`type ${one}`));
  if (typesAllowed && types) return undefined;
  return `src/${from} may not import ${typesAllowed ? 'more than types of ' : ''}src/${inside}`;
}

export function allProblems(): string[] {
  const files = globSync('src/**/*.ts', { cwd: root }).sort();
  return files
    .map((file) => file.replaceAll(path.sep, '/'))
    .filter((file) => !FOR_TESTS.test(file) && !file.endsWith('.d.ts'))
    .flatMap((file) => importProblems(file, readFileSync(path.join(root, file), 'utf8')));
}

if (import.meta.main) {
  if (process.argv.includes('--help')) {
    console.log('usage: layers.ts: prints the imports that go against the table at its beginning');
  } else {
    const problems = allProblems();
    for (const problem of problems) console.log(problem);
    process.exitCode = problems.length > 0 ? 1 : 0;
  }
}
