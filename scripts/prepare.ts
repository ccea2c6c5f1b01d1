/**
 * What npm has done when it has installed the packages: the commands and monitors of the first minute start as quickly as later ones.
 * They would prepare it themselves, in the background of the first domain's boot. Node keeps what this process loads (bin/xm says where),
 * so that for the commands loading them is enough.
 */
import { warmMonitors } from '../src/xend/warm-monitors.ts';

const done = warmMonitors();
await Promise.all(
  [
    'xm/main',
    'xm/commands/create',
    'config/command-line',
    'config/load',
    'xend/main',
    'xend/daemon',
    'xend/region-compiler',
  ].map((name) => import(`../src/${name}.ts`)),
);
await done;
