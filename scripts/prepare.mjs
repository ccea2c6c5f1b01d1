// Has prepare.ts run by the Node that npm has just installed. Whatever goes wrong, the installation is complete: all that is prepared is made
// when it is first wanted, too. Plain JavaScript for Node 18 and newer, like run.mjs.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const node = path.join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node');
const env = { NODE_COMPILE_CACHE: path.join(root, 'node_modules', '.cache', 'domus'), ...process.env };
spawnSync(node, [path.join(root, 'scripts', 'prepare.ts')], {
  env,
  stdio: 'ignore',
  shell: process.platform === 'win32',
});
