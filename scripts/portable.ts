/**
 * Finds what ties the checkout to one machine or one network: paths of this machine, the names of package registries, and
 * addresses in package-lock.json, which would send everybody to the mirror of whoever ran npm last.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

interface Rule {
  readonly about: string;
  readonly pattern: RegExp;
  /** Only in files with this name. */
  readonly file?: string;
}

/** /root and the like say nothing: guests have them too. */
const ownFolders = [root, homedir()].filter((folder) => folder.split('/').length > 2);

export const RULES: readonly Rule[] = [
  { about: 'a package registry', pattern: /\bregistry\.[a-z-]+\.(?:org|com|io|dev)\b/ },
  { about: 'an address of a package', pattern: /^\s*"resolved": *"/, file: 'package-lock.json' },
  ...ownFolders.map((folder) => ({
    about: 'a path of this machine',
    pattern: new RegExp(`(?<![\\w.-])${folder.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w-])`),
  })),
];

/** What is wrong with one file, line by line. */
export function portabilityProblems(file: string, text: string, rules: readonly Rule[] = RULES): string[] {
  return text.split('\n').flatMap((line, index) =>
    rules
      .filter((rule) => rule.file === undefined || rule.file === path.basename(file))
      .filter(({ pattern }) => pattern.test(line))
      .map(({ about }) => `${file}:${index + 1}: names ${about}`),
  );
}

/** The files that are, or would be, committed. A checkout without git (an unpacked archive) has none to look at. */
function files(): string[] {
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const { status, stdout } = spawnSync('git', list, { cwd: root, encoding: 'utf8' });
  return status === 0 ? [...new Set(stdout.split('\0').filter(Boolean))] : [];
}

function read(file: string): string {
  try {
    const text = readFileSync(path.join(root, file), 'utf8');
    return text.includes('\0') ? '' : text;
  } catch {
    return ''; // Deleted, and not committed yet.
  }
}

if (import.meta.main) {
  if (process.argv.includes('--help')) {
    console.log('usage: portable.ts: prints every line that names a path of this machine or a package registry');
  } else {
    const problems = files().flatMap((file) => portabilityProblems(file, read(file)));
    for (const problem of problems) console.log(problem);
    process.exitCode = problems.length > 0 ? 1 : 0;
  }
}
