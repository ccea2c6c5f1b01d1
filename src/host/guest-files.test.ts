/** Files in and out through the agent's own program, and from a guest that sends what it likes. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { cannotRun, startAgent, type TestAgent } from '../monitor/agent/agent-for-tests.ts';
import { AgentServer } from '../monitor/agent/server.ts';
import { AgentMessage, execInGuest, makeMessage } from './agent-link.ts';
import { readFirstLine } from './console-link.ts';
import { copyFromGuest, copyToGuest, PUT } from './guest-files.ts';
import { type TarEntry, tarEnd, tarHeader, tarPadding } from './tar.ts';

async function eventually(what: () => boolean): Promise<void> {
  for (let k = 0; k < 3000; k++) {
    // What was so once may not be so a moment later: the other side tidies up in its own time.
    if (what()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail('it does not happen');
}

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-files-'));
const at = (...names: string[]) => path.join(dir, ...names);
after(() => rmSync(dir, { recursive: true, force: true }));

describe('files through an agent', { skip: cannotRun }, () => {
  if (cannotRun) return;
  let agent: TestAgent;
  let server: AgentServer;
  const socket = at('agent.sock');
  before(async () => {
    agent = startAgent();
    server = new AgentServer(agent.link);
    await server.listen(socket);
    await agent.link.wait(20_000, new AbortController().signal);
    mkdirSync(at('tree/inner'), { recursive: true });
    writeFileSync(at('tree/inner/data'), randomBytes(300_000));
    writeFileSync(at('tree', 'n'.repeat(150)), 'long name', { mode: 0o640 });
    symlinkSync('inner/data', at('tree/link'));
    chmodSync(at('tree/inner/data'), 0o751);
    mkdirSync(at('there'));
  });
  after(() => {
    server.close();
    agent.stop();
  });

  const same = (copy: string) => {
    assert.deepEqual(readFileSync(path.join(copy, 'inner/data')), readFileSync(at('tree/inner/data')));
    assert.equal(readFileSync(path.join(copy, 'n'.repeat(150)), 'utf8'), 'long name');
    assert.equal(statSync(path.join(copy, 'inner/data')).mode & 0o777, 0o751);
    assert.equal(readlinkSync(path.join(copy, 'link')), 'inner/data');
    const times = [copy, at('tree')].map((folder) =>
      Math.floor(statSync(path.join(folder, 'inner/data')).mtimeMs / 1000),
    );
    assert.equal(times[0], times[1]);
  };

  test('a folder goes in under its own name where there is a folder, and under a new one elsewhere; and out again', async () => {
    await copyToGuest(socket, at('tree'), at('there'));
    same(at('there/tree'));
    await copyToGuest(socket, at('tree'), at('there/renamed'));
    same(at('there/renamed'));
    let bytes = 0;
    await copyFromGuest(socket, at('there/renamed'), at('out'), { progress: (n) => (bytes = n) });
    same(at('out'));
    assert.ok(bytes > 300_000);
    await copyFromGuest(socket, at('there/tree/'), at('out'));
    same(at('out/tree'));
  });

  test('a file takes the place of one that is there, in one step', async () => {
    writeFileSync(at('file'), 'new');
    writeFileSync(at('there/file'), 'old');
    await copyToGuest(socket, at('file'), at('there/file'));
    assert.equal(readFileSync(at('there/file'), 'utf8'), 'new');
    await copyFromGuest(socket, at('there/file'), at('file2'));
    assert.equal(readFileSync(at('file2'), 'utf8'), 'new');
    assert.deepEqual(
      readdirSync(at('there')).filter((name) => name.startsWith('.copy')),
      [],
    );
  });

  test('names may be any bytes, and folders keep their times', async () => {
    const odd = ['-rf', 'new\nline', '$(touch x)', 'ü€', '\'"', ' ', '\\'].map((name) => Buffer.from(name));
    const names = [...odd, Buffer.from([0x62, 0xff, 0xfe]), Buffer.from([0xc3])];
    const inside = (folder: string, name: Buffer) => Buffer.concat([Buffer.from(`${folder}/`), name]);
    mkdirSync(at('odd'));
    for (const name of names) writeFileSync(inside(at('odd'), name), name);
    symlinkSync(Buffer.from([0x2f, 0xff]), at('odd/link'));
    utimesSync(at('odd'), 1e9, 1e9);
    await copyToGuest(socket, at('odd'), at('there/odd'));
    await copyFromGuest(socket, at('there/odd'), at('odd back'));
    for (const copy of [at('there/odd'), at('odd back')]) {
      assert.equal(readdirSync(copy).length, names.length + 1);
      for (const name of names) assert.deepEqual(readFileSync(inside(copy, name)), name);
      assert.deepEqual(readlinkSync(path.join(copy, 'link'), { encoding: 'buffer' }), Buffer.from([0x2f, 0xff]));
      assert.equal(statSync(copy).mtimeMs, 1e12);
    }
  });

  test('a folder is joined with one of its name, and what only the other has stays', async () => {
    for (const folder of ['one/sub', 'into/one/sub']) mkdirSync(at(folder), { recursive: true });
    writeFileSync(at('into/one/sub/theirs'), 'theirs');
    writeFileSync(at('into/one/sub/both'), 'old');
    writeFileSync(at('one/sub/both'), 'new');
    symlinkSync('both', at('one/sub/link'));
    const joined = () => ['theirs', 'both', 'link'].map((name) => readFileSync(at('into/one/sub', name), 'utf8'));
    await copyToGuest(socket, at('one'), at('into'));
    assert.deepEqual(joined(), ['theirs', 'new', 'new']);
    writeFileSync(at('one/sub/both'), 'newer');
    await copyFromGuest(socket, at('one'), at('into'));
    assert.deepEqual(joined(), ['theirs', 'newer', 'newer']);
  });

  test('a copy that is interrupted leaves nothing, in either direction', async () => {
    const places = () => [readdirSync(dir), readdirSync(at('there'))].flat().sort();
    const before = places();
    for (const copy of [copyToGuest, copyFromGuest]) {
      const interrupt = new AbortController();
      const whole = copy(socket, at('tree'), at('there/whole'), {
        signal: interrupt.signal,
        progress: () => interrupt.abort(),
      });
      await assert.rejects(whole, /^CopyError: the copy was interrupted$/);
      await eventually(() => isDeepStrictEqual(places(), before));
    }
    const late = copyToGuest(socket, at('tree'), at('there/whole'), { signal: AbortSignal.abort() });
    await assert.rejects(late, /^CopyError: the copy was interrupted$/);
  });

  test('when a client is killed in the middle of a copy, the guest tidies up', async (t) => {
    const files = new URL('./guest-files.ts', import.meta.url).href;
    // It stops when it has sent the first of it.
    const program = `
      import { copyToGuest } from ${JSON.stringify(files)};
      await copyToGuest(${JSON.stringify(socket)}, ${JSON.stringify(at('tree'))}, ${JSON.stringify(at('there/half'))}, {
        progress() { process.kill(process.pid, 'SIGSTOP'); },
      });`;
    const client = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' });
    // Stopped it would outlive a test that failed.
    t.after(() => client.kill('SIGKILL'));
    const drafts = () => readdirSync(at('there')).filter((name) => name.startsWith('.copy'));
    await eventually(() => drafts().length === 1);
    client.kill('SIGKILL');
    await eventually(() => drafts().length === 0);
    assert.ok(!existsSync(at('there/half')));
  });

  test('nothing is left when that happens in the very moment that the first of it is made', () => {
    const before = readdirSync(at('there'));
    const tools = at('tools');
    mkdirSync(tools);
    for (const tool of ['mkdir', 'mktemp']) {
      const script = `#!/bin/sh\nPATH=/usr/bin:/bin ${tool} "$@"\nkill -HUP $PPID\n`;
      writeFileSync(
        path.join(tools, tool),
        tool === 'mktemp' ? script.replace('kill', '[ "$1" = -u ] || kill') : script,
        {
          mode: 0o755,
        },
      );
    }
    const { status } = spawnSync('/bin/sh', ['-c', PUT, 'sh', at('there/half'), 'tree', 'folder', '1'], {
      env: { PATH: `${tools}:/usr/bin:/bin` },
      input: '',
    });
    assert.equal(status, 1);
    assert.deepEqual(readdirSync(at('there')), before);
  });

  test('what cannot be done is told in one line, and nothing is half made', async () => {
    const cases: [() => Promise<void>, RegExp][] = [
      [() => copyToGuest(socket, at('nope'), '/tmp'), /^CopyError: .*nope: no such file$/],
      [
        () => copyToGuest(socket, at('file'), at('no/such/place')),
        /^CopyError: in the guest: .*no\/such: no such folder$/,
      ],
      [() => copyToGuest(socket, at('file'), at('there/new/')), /in the guest: .*new\/: no such folder/],
      [() => copyFromGuest(socket, at('nope'), at('x')), /in the guest: .*nope: no such file/],
      [() => copyFromGuest(socket, at('file'), at('no/such/place')), /no such folder/],
    ];
    for (const [work, expected] of cases) await assert.rejects(work, expected);
    assert.ok(!existsSync(at('x')));
  });

  test('a guest without an agent, and one that ends, are told in one line', async () => {
    const lonely = new AgentServer(new (agent.link.constructor as new (ports: object) => typeof agent.link)({}));
    await lonely.listen(at('lonely.sock'));
    const run = execInGuest(at('lonely.sock'), { argv: ['true'] }, { output() {}, errors() {} });
    await assert.rejects(run, /^AgentError: there is no agent in the guest/);
    await assert.rejects(
      execInGuest(at('none.sock'), { argv: ['true'] }, { output() {}, errors() {} }),
      /^AgentError: cannot reach the domain's agent/,
    );
    lonely.close();
  });
});

const entry = (name: string, more: Partial<TarEntry> = {}): Buffer =>
  tarHeader({ name, kind: 'file', mode: 0o4755, size: 0, mtime: 0, ...more });
const withText = (name: string, text: string) =>
  Buffer.concat([entry(name, { size: text.length }), Buffer.from(text), tarPadding(text.length)]);

/** A guest whose answer to everything is this archive. */
async function guestThatSends(parts: readonly Buffer[]): Promise<{ socket: string; close(): void }> {
  const socket = at(`hostile${Math.random().toString(36).slice(2)}.sock`);
  const server = net.createServer((client) => {
    client.on('error', () => {});
    readFirstLine(client, () => {
      client.write('{"ok":true}\n');
      for (const part of parts) client.write(makeMessage(AgentMessage.Output, part));
      client.write(makeMessage(AgentMessage.Exit, Uint8Array.of(0, 0)));
      client.resume();
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, () => resolve()));
  return { socket, close: () => server.close() };
}

test('an archive of a hostile guest makes nothing outside of the place that was asked for', async () => {
  mkdirSync(at('outside'));
  const folder = entry('./x/', { kind: 'folder' });
  // biome-ignore format: a table
  const attacks: [string, Buffer[]][] = [
    ['parent in a name',           [folder, withText('./x/../../outside/f', 'bad')]],
    ['parent as the name',         [withText('./x/..', 'bad')]],
    ['absolute name',              [withText(at('outside/f'), 'bad')]],
    ['no folder before its file',  [withText('./x/y/f', 'bad')]],
    ['through a link of its own',  [folder, entry('./x/l', { kind: 'symlink', target: at('outside') }), withText('./x/l/f', 'bad')]],
    ['a folder where a link is',   [folder, entry('./x/l', { kind: 'symlink', target: at('outside') }), entry('./x/l/', { kind: 'folder' }), withText('./x/l/f', 'bad')]],
    ['hard link to the outside',   [folder, entry('./x/h', { kind: 'hardlink', target: '/etc/passwd' })]],
    ['hard link through parents',  [folder, entry('./x/h', { kind: 'hardlink', target: './x/../../outside' })]],
    ['empty part of a name',       [folder, withText('./x//f', 'bad')]],
    ['no archive',                 [Buffer.from('rubbish '.repeat(100))]],
    ['cut off',                    [folder, entry('./x/f', { size: 1000 })]],
  ];
  for (const [attack, parts] of attacks) {
    const guest = await guestThatSends([...parts, ...(attack === 'cut off' ? [] : [tarEnd()])]);
    const to = at(`victim ${attack}`);
    await assert.rejects(copyFromGuest(guest.socket, '/x', to), /^CopyError: /, attack);
    guest.close();
    assert.deepEqual(readdirSync(at('outside')), [], attack);
    const left = lstatSync(to, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(to) : [];
    assert.deepEqual(
      left.filter((name) => name.endsWith('.part')),
      [],
      attack,
    );
  }
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.endsWith('.part')),
    [],
  );
});

test('files of a guest get no set-uid bit, take the place of a link instead of following it, and devices are left out', async () => {
  mkdirSync(at('here'));
  writeFileSync(at('kept'), 'kept');
  symlinkSync(at('kept'), at('here/f'));
  const notes: string[] = [];
  const parts = [
    entry('./here/', { kind: 'folder', mode: 0o7777 }),
    withText('./here/f', 'new'),
    entry('./here/dev', { kind: 'other' }),
  ];
  const guest = await guestThatSends([...parts, tarEnd()]);
  await copyFromGuest(guest.socket, '/here', dir, { note: (text) => void notes.push(text) });
  guest.close();
  assert.equal(readFileSync(at('kept'), 'utf8'), 'kept');
  assert.equal(readFileSync(at('here/f'), 'utf8'), 'new');
  assert.equal(statSync(at('here/f')).mode & 0o7777, 0o755);
  assert.match(notes.join(), /dev is neither/);
});
