/**
 * The example configurations that the project brings (etc/xen). `xend start` puts them into a new configuration folder;
 * `xm create` finds them here as well, so that they work before that and after somebody has deleted them.
 */
import { cpSync, existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const EXAMPLES_DIR = fileURLToPath(new URL('../../etc/xen', import.meta.url));

/** Makes the configuration folder with the examples in it. One that exists is its owner's: nothing is added. */
export function installExamples(etc: string): boolean {
  if (existsSync(etc) || !existsSync(EXAMPLES_DIR)) return false;
  cpSync(EXAMPLES_DIR, etc, { recursive: true });
  return true;
}
