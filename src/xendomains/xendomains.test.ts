/** xendomains against a real xend with the fake machine, and its services put into a folder that plays a system's root. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { findPaths } from '../host/paths.ts';
import { makeHome, openConsole, startXend } from '../xend/testing.ts';
import { main } from './main.ts';

const home = makeHome();
const xend = await startXend(home);
const { client } = xend;
after(async () => {
  await xend.end();
  home.remove();
});
const auto = path.join(home.dir, 'auto');
mkdirSync(auto);

function write(file: string, name: string, more = ''): void {
  writeFileSync(path.join(auto, file), `kernel = "${home.kernel}"\nmemory = 32\nname = "${name}"\nnics = 0\n${more}\n`);
}

async function xendomains(verb: string, env: Record<string, string> = {}, paths = home.paths) {
  let [out, err] = ['', ''];
  const code = await main([verb], {
    paths,
    env: { XENDOMAINS_AUTO: auto, ...env },
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
  });
  return { code, out, err };
}

const names = async () =>
  (await client.call('GET /domains', {})).filter(({ domid }) => domid !== 0).map(({ name }) => name);

/** A guest that does what it is asked to: watches for the request as a kernel does, and powers off. */
async function obey(name: string): Promise<void> {
  const console = await openConsole((await client.call('GET /domains/:name/console', { name })).socket);
  await console.until('login:');
  void (async () => {
    const { events } = xend.daemon.xend.ports;
    for (let since = events.last; ; since = events.last) {
      if (events.after(since).events.some((one) => one.type === 'domain.asked' && one.domain?.name === name)) break;
      await events.wait(since, 60_000);
      if (events.after(since).events.some((one) => one.type === 'domain.asked' && one.domain?.name === name)) break;
    }
    console.type('poweroff\n');
  })();
}

test('start: in order, what is needed first, links too; what is wrong is told and does not stop the others', async () => {
  write('10-web', 'web', '# xendomains: after=db');
  write('90-db', 'db', '# xendomains: order=90');
  writeFileSync(path.join(home.dir, 'elsewhere'), `kernel = "${home.kernel}"\nname = "linked"\nnics = 0\n`);
  symlinkSync(path.join(home.dir, 'elsewhere'), path.join(auto, '20-linked'));
  write('30-broken', 'broken', 'kernel = "/nope"');
  write('40-lost', 'lost', '# xendomains: after=ghost');
  write('50-old~', 'old');
  const { code, out, err } = await xendomains('start');
  assert.equal(out, 'started linked\nstarted db\nstarted web\n');
  assert.match(err, /^xendomains: broken is not started: .*\/nope \(no such file\)$/m);
  assert.match(err, /^xendomains: lost is not started: ghost, which it needs, is not there$/m);
  assert.equal(code, 1);
  assert.deepEqual((await names()).sort(), ['db', 'linked', 'web']);
  for (const file of ['30-broken', '40-lost']) rmSync(path.join(auto, file));
});

test('start again starts nothing twice; status knows', async () => {
  assert.deepEqual(await xendomains('start'), {
    code: 0,
    out: 'linked runs already\ndb runs already\nweb runs already\n',
    err: '',
  });
  write('60-new', 'new');
  const { code, out } = await xendomains('status');
  assert.deepEqual([code, out], [3, 'web runs\nlinked runs\nnew does not run\ndb runs\n']);
  rmSync(path.join(auto, '60-new'));
  assert.equal((await xendomains('status')).code, 0);
});

test('stop: the needed ones last, others as well unless told otherwise; one that does not answer is left, or destroyed', async () => {
  await client.call('POST /domains', { config: home.config('byhand') });
  await client.call('POST /domains/:name/unpause', { name: 'byhand' });
  for (const name of ['db', 'linked', 'web']) await obey(name);
  const { code, out, err } = await xendomains('stop', { XENDOMAINS_STOP_MAXWAIT: '1', XENDOMAINS_AUTO_ONLY: 'false' });
  assert.equal(code, 1);
  assert.match(err, /^xendomains: byhand is not stopped: byhand has not ended after 1 s/m);
  assert.ok(out.indexOf('stopped web') >= 0 && out.indexOf('stopped web') < out.indexOf('stopped db'), out);
  assert.deepEqual(await names(), ['byhand']);
  assert.deepEqual(await xendomains('stop', { XENDOMAINS_AUTO_ONLY: 'true' }), { code: 0, out: '', err: '' });
  assert.deepEqual(await names(), ['byhand'], 'not of the folder');
  const forced = await xendomains('stop', { XENDOMAINS_STOP_MAXWAIT: '0', XENDOMAINS_STOP_FORCE: 'yes' });
  assert.deepEqual([forced.code, await names()], [0, []]);
});

test('restart starts again what it could stop, whatever could not be stopped or is no configuration', async () => {
  writeFileSync(path.join(auto, '05-junk'), 'junk(');
  const { code, out, err } = await xendomains('restart', { XENDOMAINS_STOP_MAXWAIT: '1' });
  rmSync(path.join(auto, '05-junk'));
  assert.equal(code, 1);
  assert.match(err, /05-junk: .*syntax error/);
  assert.equal(out, 'started linked\nstarted db\nstarted web\n');
  const forced = await xendomains('stop', { XENDOMAINS_STOP_MAXWAIT: '0', XENDOMAINS_STOP_FORCE: 'yes' });
  assert.deepEqual([forced.code, await names()], [0, []]);
});

test('a domain that its configuration keeps after its end is not in the way of its next start', async () => {
  const folder = path.join(home.dir, 'keeping');
  mkdirSync(folder);
  write('../keeping/kept', 'kept', 'on_poweroff = "preserve"');
  const env = { XENDOMAINS_AUTO: folder };
  assert.equal((await xendomains('start', env)).code, 0);
  await obey('kept');
  assert.deepEqual(await xendomains('stop', env), { code: 0, out: 'stopped kept\n', err: '' });
  assert.deepEqual(await names(), []);
});

test('wrong words, and a xend that is not there', async () => {
  assert.equal((await xendomains('frob')).code, 2);
  assert.match((await xendomains('frob')).err, /^usage: xendomains/);
  assert.equal((await xendomains('help')).code, 0);
  const nowhere = findPaths({ DOMUS_HOME: path.join(home.dir, 'nowhere') });
  assert.deepEqual(
    [(await xendomains('status', {}, nowhere)).code, (await xendomains('start', {}, nowhere)).code],
    [4, 1],
  );
});

test('settings are read from a file, and the environment is stronger', async () => {
  mkdirSync(home.paths.etc, { recursive: true });
  writeFileSync(
    path.join(home.paths.etc, 'xendomains'),
    `XENDOMAINS_AUTO="${home.dir}/other" # comment\nXENDOMAINS_SAVE=/x\n`,
  );
  const { out } = await xendomains('status', { XENDOMAINS_AUTO: undefined as never });
  assert.equal(out, `there are no automatic domains in ${home.dir}/other\n`);
  assert.match((await xendomains('stop')).err, /XENDOMAINS_SAVE: not possible yet, domains are shut down/);
});

const root = mkdtempSync(path.join(os.tmpdir(), 'domus-root-'));
after(() => rmSync(root, { recursive: true }));
const install = (...words: string[]) =>
  spawnSync(path.resolve(import.meta.dirname, '../../etc/install.sh'), ['--destdir', root, ...words], {
    encoding: 'utf8',
  });
const inRoot = (file: string) => path.join(root, file);

test('the services are installed, changed settings stay, and all but those goes again', () => {
  for (const init of ['systemd', 'sysv']) assert.equal(install('--init', init).status, 0);
  const unit = readFileSync(inRoot('etc/systemd/system/xend.service'), 'utf8');
  assert.match(unit, /^ExecStart=\/usr\/local\/sbin\/xend start --foreground$/m);
  // What comes after xend finds it serving.
  assert.match(unit, /^Type=notify\nNotifyAccess=all$/m);
  // Stopping xend's service must reach no domain.
  assert.match(unit, /^KillMode=process$/m);
  assert.doesNotMatch(readFileSync(inRoot('etc/systemd/system/xendomains.service'), 'utf8'), /^Requires=/m);
  assert.match(readlinkSync(inRoot('usr/local/sbin/xm')), /\/bin\/xm$/);
  for (const script of ['xend', 'xendomains'])
    assert.equal(spawnSync('sh', ['-n', inRoot(`etc/init.d/${script}`)]).status, 0, script);
  writeFileSync(inRoot('etc/default/xendomains'), 'XENDOMAINS_AUTO_ONLY=true\n');
  assert.equal(install('--init', 'systemd').status, 0);
  for (const init of ['systemd', 'sysv']) assert.equal(install('--init', init, '--uninstall').status, 0);
  assert.equal(readFileSync(inRoot('etc/default/xendomains'), 'utf8'), 'XENDOMAINS_AUTO_ONLY=true\n');
  for (const gone of ['usr/local/sbin/xm', 'etc/init.d/xend', 'etc/systemd/system/xend.service'])
    assert.ok(!existsSync(inRoot(gone)), gone);
  assert.equal(install('--frob').status, 2);
});

const analyzer = spawnSync('systemd-analyze', ['--version']).error ? 'there is no systemd-analyze here' : false;
test('systemd finds nothing wrong with the units', { skip: analyzer }, () => {
  assert.equal(install('--init', 'systemd').status, 0);
  // It looks for the commands in this system, in which nothing is installed.
  const here = path.resolve(import.meta.dirname, '../../bin');
  const units = ['xend.service', 'xendomains.service'].map((name) => {
    const file = path.join(home.dir, name);
    const text = readFileSync(inRoot(`etc/systemd/system/${name}`), 'utf8');
    writeFileSync(file, text.replaceAll('/usr/local/sbin', here));
    return file;
  });
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...units], { encoding: 'utf8' });
  assert.deepEqual([status, stderr], [0, '']);
});
