/** The SDK against a xend of its own whose domains run the fake machine. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { apiSocket, pidFile } from '../host/paths.ts';
import { isAlive, readPidFile } from '../host/process-identity.ts';
import { makeHome, startXend } from '../xend/testing.ts';
import { AgentError, ApiError, connect, createDomain, type Domain, ExpectError, type Host, ttylinux } from './index.ts';

const home = makeHome();
let xend = await startXend(home);
const host = await connect({ socket: apiSocket(home.paths) });
after(async () => {
  await host.close();
  await xend.end();
  home.remove();
});

const { kernel } = home;
const values = { kernel, memoryMiB: 32 };
const exists = async (domain: Domain) => (await host.list()).some(({ uuid }) => uuid === domain.uuid);

/** Begins `work`, and resolves when the guest has been asked for what it asks for. */
async function whenAsked<T>(domain: Domain, work: () => Promise<T>): Promise<{ result: Promise<T> }> {
  const { last } = await host.call('GET /events', {});
  const result = work();
  for await (const _ of domain.events({ since: last, types: ['domain.asked'] })) break;
  return { result };
}

test('the package exports what the documentation says', async () => {
  const domus = await import('domus');
  assert.equal(domus.connect, connect);
  assert.deepEqual(
    Object.keys(domus)
      .filter((key) => typeof domus[key as keyof typeof domus] === 'function')
      .sort(),
    ['AgentError', 'ApiError', 'CopyError', 'ExpectError', 'XendClient', 'connect', 'createDomain', 'ttylinux'],
  );
  assert.equal(typeof ttylinux, 'function');
});

test('a domain lives as long as its block, and so does what was made for it', async () => {
  let released = 0;
  let seen: Domain;
  {
    await using domain = await host.create({
      ...values,
      name: 'block',
      release: async () => {
        released++;
      },
    });
    seen = domain;
    const view = await domain.view();
    assert.deepEqual([view.name, view.state, view.memoryMiB, view.domid], ['block', 'running', 32, domain.domid]);
    assert.equal(released, 0);
  }
  assert.equal(await exists(seen), false);
  assert.equal(released, 1);
});

test('a domain that cannot be made leaves nothing behind, and what was made for it is given back', async () => {
  let released = 0;
  const release = async () => {
    released++;
  };
  await assert.rejects(host.create({ ...values, kernel: home.badKernel, release }), { code: 'build-failed' });
  await assert.rejects(host.create({ ...values, disks: ['nonsense'], release }), /Invalid disk specifier: nonsense/);
  assert.equal(released, 2);
  assert.deepEqual(
    (await host.list()).map(({ name }) => name),
    ['Domain-0'],
  );
});

test('domains without a name have one each', async () => {
  await using first = await host.create(values);
  await using second = await host.create(values);
  assert.notEqual((await first.view()).name, (await second.view()).name);
});

test("xm's configuration files are understood, with variables", async () => {
  const file = path.join(home.dir, 'web.cfg');
  writeFileSync(file, `kernel = '${kernel}'\nname = 'web%s' % vmid\nmemory = 40\n`);
  await using domain = await host.create({ file, variables: { vmid: 7 }, paused: true });
  const { name, memoryMiB, state } = await domain.view();
  assert.deepEqual([name, memoryMiB, state], ['web7', 40, 'paused']);
  await assert.rejects(host.create({ file }), /web\.cfg:2:\d+: .*vmid/);
});

test('pause, unpause, rename, disks, shutdown: what xm can do', async () => {
  await using domain = await host.create({ ...values, name: 'busy' });
  await domain.pause();
  assert.equal((await domain.view()).state, 'paused');
  await domain.unpause();
  await domain.rename('busier');
  assert.equal((await host.domain('busier')).uuid, domain.uuid);
  assert.deepEqual(await domain.disks(), []);
  assert.equal((await domain.setScheduling({ weight: 512 })).weight, 512);
  await using console = await domain.console();
  const ended = await whenAsked(domain, () => domain.shutdown());
  console.line('poweroff');
  assert.equal((await ended.result)?.kind, 'poweroff');
  await domain.destroy(); // Nothing any more, and no error.
  assert.equal((await host.exit(domain.uuid))?.kind, 'poweroff');
});

test('a shutdown has a time limit, ends what has not ended only when told to, and ends where a domain is kept', async () => {
  await using deaf = await host.create(values);
  await assert.rejects(deaf.shutdown({ timeoutMs: 1 }), (error: unknown) => {
    return (
      error instanceof ApiError && error.code === 'not-ended' && error.message === 'it has not ended after 0.001 s'
    );
  });
  assert.equal((await deaf.view()).state, 'running');
  assert.equal((await deaf.shutdown({ timeoutMs: 1, force: true }))?.kind, 'destroyed');
  await using kept = await host.create({ ...values, onPoweroff: 'preserve' });
  await using console = await kept.console();
  const ended = await whenAsked(kept, () => kept.shutdown({ halt: false }));
  console.line('poweroff');
  assert.equal(await ended.result, undefined);
  assert.equal((await kept.view()).state, 'shutdown');
});

test('a reboot is waited for, and one that becomes an end is told as such', async () => {
  await using domain = await host.create(values);
  await using console = await domain.console();
  await console.expect('login:');
  const rebooted = await whenAsked(domain, () => domain.reboot());
  console.line('reboot');
  await rebooted.result;
  assert.equal((await domain.view()).builds, 2);
  await console.expect('login:');
  const failed = await whenAsked(domain, () => assert.rejects(domain.reboot(), /it ended instead of restarting/));
  console.line('crash');
  await failed.result;
});

test('expect returns what matched and what came before, and goes on behind it', async () => {
  await using domain = await host.create(values);
  await using console = await domain.console();
  assert.equal(console.writes, true);
  const banner = await console.expect(/domain (\d+), line: (?<line>.*)\n/);
  assert.deepEqual(banner.groups.slice(1, 2), [String(domain.domid)]);
  assert.equal(typeof banner.named.line, 'string');
  assert.match(banner.before, /^fake kernel, $/);
  assert.equal((await console.expect('login: ')).before, 'fake ');
  console.write('one\ntwo\n');
  assert.equal((await console.expect(/\[(one|two)\]/g)).groups[1], 'one', 'the flag g is not taken at its word');
  assert.equal((await console.expect(/\[(one|two)\]/g)).groups[1], 'two');
});

test('colours and cursor movements are not text, however they are cut', async () => {
  await using domain = await host.create(values);
  await using console = await domain.console();
  await console.expect('login: ');
  console.line('\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain');
  assert.equal((await console.expect(/\[.*\]\n/)).text, '[red plain]\n');
});

test('what does not come is told with the last lines that did', async () => {
  await using domain = await host.create(values);
  await using console = await domain.console();
  await console.expect('login: ');
  await assert.rejects(console.expect('never', { timeoutMs: 1 }), (error: Error) => {
    assert.ok(error instanceof ExpectError);
    assert.match(
      error.message,
      /^waiting for "never": it did not come within 0.001 s\n {2}\| fake kernel, .*\n.*login:/,
    );
    return true;
  });
  const ended = assert.rejects(console.expect(/never/), /waiting for \/never\/: the console has ended/);
  await domain.destroy();
  await ended;
  assert.throws(() => console.line('too late'), /the console is closed/);
});

test('a console can be read line by line, and text as it comes', async () => {
  await using domain = await host.create(values);
  await using writer = await domain.console();
  await using watcher = await domain.console({ mode: 'watch' });
  assert.equal(watcher.writes, false);
  await writer.expect('login: ');
  writer.write('a\nb\npoweroff\n');
  const lines: string[] = [];
  for await (const line of watcher.lines()) lines.push(line);
  assert.deepEqual(lines.slice(1), ['fake login: [a]', '[b]', '[poweroff]']);
  let text = '';
  for await (const chunk of writer) text += chunk;
  assert.equal(text, '[a]\n[b]\n[poweroff]\n');
});

test('a guest without an agent is told of in one line', async () => {
  await using domain = await host.create(values);
  await assert.rejects(domain.exec('true', { waitMs: 0 }), (error: unknown) => {
    assert.ok(error instanceof AgentError);
    assert.ok(!error.message.includes('\n'));
    return true;
  });
});

test('events are an iterator, of one domain or of all, and end when asked to', async () => {
  const { last } = await host.call('GET /events', {});
  await using domain = await host.create({ ...values, name: 'eventful' });
  await domain.destroy();
  const types: string[] = [];
  for await (const event of domain.events({ since: last })) {
    if (event.type.startsWith('domain.')) types.push(event.type);
    if (event.type === 'domain.gone') break;
  }
  assert.deepEqual(types, ['domain.created', 'domain.started', 'domain.gone']);
  const stop = new AbortController();
  const endless = (async () => {
    for await (const event of host.events({ signal: stop.signal })) assert.fail(`not asked for: ${event.type}`);
  })();
  stop.abort();
  await endless;
});

test('events go on across a restart of xend, and none is missing', async () => {
  const seen: number[] = [];
  const { last } = await host.call('GET /events', {});
  await using domain = await host.create(values);
  const watching = (async () => {
    for await (const { seq, type } of host.events({ since: last })) {
      seen.push(seq);
      if (type === 'domain.gone') return;
    }
  })();
  xend.client.close();
  await xend.daemon.stop();
  xend = await startXend(home);
  await domain.destroy();
  await watching;
  assert.deepEqual(
    seen,
    seen.map((_, at) => last + 1 + at),
  );
  const { events } = await host.call('GET /events', { since: last });
  assert.ok(events.some(({ type }) => type === 'domain.found'));
});

test("refusals are xend's, with their code", async () => {
  await assert.rejects(host.domain('nobody'), (error: unknown) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.code, error.status, error.message], ['domain-not-found', 404, 'invalid domain:nobody']);
    return true;
  });
  await assert.rejects(connect({ home: path.join(home.dir, 'elsewhere') }), { code: 'no-xend' });
  await assert.rejects(connect({ url: 'http://127.0.0.1:1' }), { code: 'no-xend' });
});

test('a xend that was started is stopped, a temporary one is gone with its domains', async () => {
  let folder: string;
  let process_: ReturnType<typeof readPidFile>;
  {
    await using own: Host = await connect({ temporary: true });
    const domain = await own.create(values);
    assert.equal((await domain.view()).state, 'running');
    folder = path.dirname(path.dirname(String(own.client.target)));
    process_ = readPidFile(path.join(folder, 'run', 'xend.pid'));
  }
  assert.ok(process_);
  assert.ok(!existsSync(folder));
  assert.ok(!isAlive(process_));
});

test('createDomain starts a xend where none runs and stops it; one that runs goes on', async () => {
  const own = path.join(home.dir, 'own');
  const paths = { home: own };
  {
    await using domain = await createDomain(values, paths);
    assert.equal((await domain.view()).state, 'running');
  }
  await assert.rejects(connect(paths), { code: 'no-xend' });
  await using running = await connect({ ...paths, start: true });
  {
    await using domain = await createDomain(values, paths);
    assert.equal((await running.domain(domain.uuid)).domid, domain.domid);
  }
  assert.deepEqual(
    (await running.list()).map(({ name }) => name),
    ['Domain-0'],
  );
  await running.close();
  assert.ok(!existsSync(pidFile({ ...home.paths, run: path.join(own, 'run') })));
});
