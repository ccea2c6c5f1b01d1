/** xend.service and xendomains.service as etc/install.sh installs them, under a systemd of the test's own; domains on the fake machine. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { apiSocket } from '../../src/host/paths.ts';
import { XendClient } from '../../src/sdk/client.ts';
import { FAKE_MACHINE, makeHome, openConsole } from '../../src/xend/testing.ts';
import { eventually } from './mortal-xend.ts';
import { noPrivateSystemd, PrivateSystemd } from './private-systemd.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

describe('the services under systemd', { skip: noPrivateSystemd() }, () => {
  const home = makeHome();
  const client = new XendClient(apiSocket(home.paths));
  const journal = path.join(home.dir, 'journal');
  const auto = path.join(home.dir, 'auto');
  const environment = {
    DOMUS_HOME: path.dirname(home.paths.run),
    DOMUS_MACHINE: FAKE_MACHINE,
    XENDOMAINS_AUTO: auto,
    XENDOMAINS_AUTO_ONLY: 'yes',
    XENDOMAINS_STOP_MAXWAIT: '0', // Fake guests do not end when they are asked to.
    XENDOMAINS_STOP_FORCE: 'yes',
  };
  const systemd = new PrivateSystemd(home.dir, installedUnits());
  before(() => systemd.ready());
  after(async () => {
    client.close();
    await systemd.end();
    home.remove();
  });

  /** Only where the commands are and what surrounds them is of the test; the units' texts are as installed. */
  function installedUnits(): Record<string, string> {
    const destdir = path.join(home.dir, 'root');
    execFileSync(path.join(ROOT, 'etc/install.sh'), ['--destdir', destdir, '--init', 'systemd']);
    const variables = Object.entries(environment).map(([name, value]) => `Environment=${name}=${value}\n`);
    // A quick machine starts it here more often in ten seconds than systemd lets anybody.
    const surroundings = `[Unit]\nStartLimitIntervalSec=0\n[Service]\n${variables.join('')}StandardError=append:${journal}\n`;
    const units: Record<string, string> = {};
    for (const name of ['xend.service', 'xendomains.service']) {
      const text = readFileSync(path.join(destdir, 'etc/systemd/system', name), 'utf8');
      units[name] = text.replaceAll('/usr/local/sbin', path.join(destdir, 'usr/local/sbin'));
      units[`${name}.d/test.conf`] = surroundings;
    }
    return units;
  }

  function config(folder: string, name: string): string {
    const file = path.join(home.dir, folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, `kernel = "${home.kernel}"\nmemory = 32\nname = "${name}"\nnics = 0\n`);
    return file;
  }

  const systemctl = (...words: string[]) => systemd.run('systemctl', ...words);
  const byHand = (program: string, ...words: string[]) =>
    systemd.run('env', `DOMUS_HOME=${environment.DOMUS_HOME}`, path.join(ROOT, 'bin', program), ...words);
  const names = async () =>
    (await client.call('GET /domains', {})).filter(({ domid }) => domid !== 0).map(({ name }) => name);

  async function succeeds(...words: string[]): Promise<void> {
    assert.deepEqual(await systemctl(...words), { code: 0, said: '' });
  }

  /** It is listed, and answers on its console. */
  async function lives(name: string, word: string): Promise<void> {
    assert.ok((await names()).includes(name));
    const console = await openConsole((await client.call('GET /domains/:name/console', { name })).socket);
    console.type(`${word}\n`);
    await console.until(`[${word}]`);
    console.close();
  }

  test('xend serves when its start returns: a domain can be created at once', async () => {
    await succeeds('start', 'xend');
    const { code, said } = await byHand('xm', 'create', config('byhand', 'web'));
    assert.equal(code, 0, said);
    await lives('web', 'created');
  });

  test('kill -9 of xend: it is started again, with its domain', async () => {
    await succeeds('kill', '--signal=KILL', '--kill-whom=main', 'xend');
    await eventually(async () => {
      const [state, restarts] = await systemd.show('xend', 'ActiveState', 'NRestarts');
      return state === 'ActiveState=active' && restarts === 'NRestarts=1';
    }, 'xend is active again');
    await lives('web', 'adopted');
  });

  test('xendomains starts what is in its folder; xend stops without it, and without their domains', async () => {
    config('auto', 'mail');
    await succeeds('start', 'xendomains');
    await lives('mail', 'automatic');
    await succeeds('stop', 'xend');
    assert.deepEqual(await systemd.show('xendomains', 'ActiveState'), ['ActiveState=active']);
    assert.deepEqual(await systemd.show('xend', 'ActiveState', 'Result'), ['ActiveState=inactive', 'Result=success']);
    await succeeds('start', 'xend');
    await lives('mail', 'still here');
    await lives('web', 'still here');
    await succeeds('stop', 'xendomains');
    assert.deepEqual(await names(), ['web']);
  });

  test('xendomains brings xend with it, as at boot', async () => {
    await succeeds('stop', 'xend');
    await succeeds('start', 'xendomains');
    assert.deepEqual(await systemd.show('xend', 'ActiveState'), ['ActiveState=active']);
    await lives('mail', 'booted');
    await succeeds('stop', 'xendomains');
  });

  test('a xend that was started by hand stays, and the start fails once, with a line that says what to do', async () => {
    await succeeds('stop', 'xend');
    assert.equal((await byHand('xend', 'start')).code, 0);
    assert.equal((await systemctl('start', 'xend')).code, 1);
    assert.match(
      readFileSync(journal, 'utf8'),
      /^xend: another xend runs, process \d+; `xend stop` ends it, and its domains run on\n$/,
    );
    assert.deepEqual(await systemd.show('xend', 'ActiveState', 'Result', 'ExecMainStatus', 'NRestarts'), [
      'ActiveState=failed',
      'ExecMainStatus=75',
      'NRestarts=0',
      'Result=exit-code',
    ]);
    await lives('web', 'untouched');
    assert.equal((await byHand('xend', 'stop')).code, 0);
    await succeeds('start', 'xend');
    await lives('web', 'at last');
  });
});
