/** `npm run docs`: writes the documents that are made from the code; `--check` only says which of them are stale. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { allCommands } from '../src/xm/commands/index.ts';
import { manual } from '../src/xm/manual.ts';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** By path in the checkout. */
const DOCUMENTS: Readonly<Record<string, () => Promise<string>>> = {
  'docs/xm.md': async () => manual(await allCommands()),
};

const { values } = parseArgs({ options: { check: { type: 'boolean' }, help: { type: 'boolean' } } });
if (values.help) {
  console.log('usage: docs.ts [--check]');
  console.log('  --check  write nothing; fail when a document is not what the code says');
} else {
  for (const [file, make] of Object.entries(DOCUMENTS)) {
    const place = path.join(root, file);
    const text = await make();
    if (!values.check) writeFileSync(place, text);
    else if (readFileSync(place, 'utf8') !== text) {
      console.log(`${file} is not what the code says: npm run docs`);
      process.exitCode = 1;
    }
  }
}
