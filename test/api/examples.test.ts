/** The examples of the SDK's documentation, as a reader would run them: from the checkout, against real domains. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { realGuest } from '../system/harness.ts';

const { skip } = await realGuest();
const folder = path.resolve(import.meta.dirname, '../../examples');
const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-examples-'));
after(() => rmSync(dir, { recursive: true, force: true }));

/** What each prints. */
const EXAMPLES: Readonly<Record<string, RegExp>> = {
  'hello.ts': /^the guest runs Linux \d+\.\S+-amd64, and uname ended with 0\n$/,
  'events.ts':
    /^create 1\/7: check files\n(?:create \d\/7: .*\n){6}domain\.created\nwatched is paused and has 96 MiB\n(?:destroy .*\n)+domain\.gone\n$/,
  'exec.ts': /^Linux \d\S+\n3 is not 0: sh: exit\n1 2 3 added up to 6\nfrom the guest: 6\n$/,
  'disks.ts': /^on the disk: hello from the guest\nthe guest ended: poweroff\n$/,
};

test('every example has an expectation', () => {
  assert.deepEqual(readdirSync(folder).sort(), Object.keys(EXAMPLES).sort());
});

for (const [name, output] of Object.entries(EXAMPLES)) {
  test(`examples/${name} prints what it should and leaves nothing running`, { skip }, async () => {
    const home = path.join(dir, name);
    const { code, text } = await run(path.join(folder, name), home);
    assert.match(text, output);
    assert.equal(code, 0);
    assert.deepEqual(left(home), []);
  });
}

function run(file: string, home: string): Promise<{ code: number | null; text: string }> {
  const child = spawn(process.execPath, [file], {
    cwd: dir,
    env: { ...process.env, DOMUS_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, text }));
  });
}

/** Sockets and pid files under an example's own home. */
function left(home: string): string[] {
  try {
    return readdirSync(home, { recursive: true })
      .map(String)
      .filter((name) => name.endsWith('.pid') || name.endsWith('control.sock'));
  } catch {
    return []; // It used a temporary home.
  }
}
