/** xend as a systemd service: whom `xend start --foreground` tells that it serves, when, and what becomes of a failure. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiSocket, xendLog } from '../host/paths.ts';
import { XendClient } from '../sdk/client.ts';
import { takeNotifySocket } from './service-manager.ts';
import { makeHome } from './testing.ts';

const BIN = path.resolve(import.meta.dirname, '../../bin');
const home = makeHome();
const calls = path.join(home.dir, 'calls');
const told = path.join(home.dir, 'told');
const tools = path.join(home.dir, 'tools');
let xend: ChildProcess | undefined;
after(() => {
  xend?.kill('SIGKILL');
  home.remove();
});
mkdirSync(tools);
execFileSync('mkfifo', [told]);

/** A systemd-notify that writes down how it was called and whether xend answers at that moment. */
function fakeNotify(end: string): void {
  const file = path.join(tools, 'systemd-notify');
  writeFileSync(
    file,
    `#!/bin/sh
${BIN}/xm info >/dev/null 2>&1
echo "$NOTIFY_SOCKET $* info=$?" >>${calls}
echo told >${told}
${end}
`,
  );
  chmodSync(file, 0o755);
}

const environment = (NOTIFY_SOCKET: string): NodeJS.ProcessEnv => ({
  ...process.env,
  DOMUS_HOME: path.dirname(home.paths.run),
  PATH: `${tools}:${process.env.PATH}`,
  NOTIFY_SOCKET,
});

function start(notifySocket: string): ChildProcess {
  xend = spawn(path.join(BIN, 'xend'), ['start', '--foreground'], { env: environment(notifySocket), stdio: 'ignore' });
  return xend;
}

async function eventually(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let k = 0; k < 1200; k++) {
    if (await holds()) return;
    await sleep(50);
  }
  assert.fail(what);
}

async function serves(): Promise<boolean> {
  const client = new XendClient(apiSocket(home.paths));
  try {
    await client.call('GET /xend', {});
    return true;
  } catch {
    return false;
  } finally {
    client.close();
  }
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
}

test('systemd is told once, by the pid that serves, when the API answers; nobody is told who does not listen', async () => {
  fakeNotify('exit 0');
  const alone = start('');
  await eventually(serves, 'xend serves');
  await stop(alone);
  const service = start('/run/fake');
  await readFile(told);
  await stop(service);
  assert.equal(readFileSync(calls, 'utf8'), `/run/fake --ready --pid=${service.pid} info=0\n`);
});

test('a systemd that cannot be told costs a line in the log: xend serves on', async () => {
  fakeNotify('echo "no such socket" >&2; exit 1');
  const service = start('/run/fake');
  await readFile(told);
  const line = /WARNING \(daemon\) systemd is not told that xend serves: no such socket\n/;
  await eventually(() => line.test(readFileSync(xendLog(home.paths), 'utf8')), 'a line in the log');
  assert.ok(await serves());
  await stop(service);
});

test('no child inherits where systemd listens', () => {
  const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: '@systemd', PATH: '/bin' };
  assert.equal(takeNotifySocket(env), '@systemd');
  assert.deepEqual(env, { PATH: '/bin' });
  assert.equal(takeNotifySocket(env), undefined);
});
