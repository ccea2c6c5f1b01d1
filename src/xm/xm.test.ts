/** xm as people use it: words in, text and exit code out. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseSxp } from '../config/sxp.ts';
import { findPaths } from '../host/paths.ts';
import { readPidFile, waitGone } from '../host/process-identity.ts';
import { ApiError } from '../sdk/client.ts';
import { makeHome, startXend } from '../xend/testing.ts';
import type { Dialect } from './command.ts';
import { allCommands, commandsIn, ENTRIES } from './commands/index.ts';
import { describe, findCommand, run } from './main.ts';

const home = makeHome();
const xend = await startXend(home);
after(async () => {
  await xend.end();
  home.remove();
});

const xm = (...argv: string[]) => called('xm', argv);
const xl = (...argv: string[]) => called('xl', argv);

async function called(dialect: Dialect, argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const code = await run(argv, {
    // As a stream does.
    out: (text) => {
      out += text;
      return true;
    },
    err: (text) => {
      err += text;
    },
    paths: home.paths,
    dialect,
  });
  return { code, out, err };
}

const configFile = path.join(home.dir, 'guest');
writeFileSync(
  configFile,
  `kernel = "${home.kernel}"\nmemory = 32\nname = "guest"\ndisk = ['file:${home.disk},sda1,w']\nroot = "/dev/sda1 ro"\n`,
);

test('an abbreviation finds its command, an exact name wins, and two candidates are unknown', async () => {
  assert.equal((await findCommand('unp'))?.name, 'unpause');
  assert.equal((await findCommand('li'))?.name, 'list');
  assert.equal(await findCommand('dom'), undefined);
  assert.equal(await findCommand(''), undefined);
});

test('the table of commands has every name that a file in their folder gives to a command', async () => {
  const folder = new URL('./commands/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const modules = await Promise.all(files.map((file) => import(new URL(file, folder).href) as Promise<object>));
  const given = modules.flatMap(commandsIn).map(({ name, aliases = [] }) => [name, ...aliases]);
  assert.deepEqual(given.toSorted(), ENTRIES.map(({ names }) => names).toSorted());
  for (const { names, load } of ENTRIES) assert.equal((await load()).name, names[0]);
});

test('running a command loads the files of no other', () => {
  const loaded = `import { registerHooks } from 'node:module';
    registerHooks({ load: (url, context, next) => (console.log(url), next(url, context)) });`;
  const hooks = `data:text/javascript,${encodeURIComponent(loaded)}`;
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const env = { PATH: process.env.PATH, DOMUS_HOME: home.dir };
  const { stdout } = spawnSync(process.execPath, ['--import', hooks, main, 'domid', 'Domain-0'], {
    env,
    encoding: 'utf8',
  });
  assert.match(stdout, /commands\/names\.ts/);
  assert.doesNotMatch(stdout, /commands\/(create|list|block)\.ts|typebox|lezer|undici/);
});

test('help lists every command under its group, and each command has help of its own', async () => {
  const { out, code } = await xm('help');
  assert.equal(code, 0);
  assert.match(out, /^help {11}Print help/m);
  assert.match(out, /\nCommands on domains:\n\nballoon /);
  assert.match(out, /\n\nTry 'xm help CMD' for help on CMD\n$/);
  for (const { name, summary } of await allCommands()) {
    assert.ok(out.includes(`${name.padEnd(14)} ${summary}\n`), name);
    assert.match((await xm('help', name)).out, new RegExp(`^${name}`));
  }
  assert.deepEqual(await xm(), await xm('help'));
  assert.deepEqual(await xm('pause', '--help'), await xm('help', 'pause'));
  assert.match((await xm('help', 'unp')).out, /^unp DOM\n/);
});

test('--version tells which Domus it is', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  for (const option of ['--version', '-V'])
    assert.deepEqual(await xm(option), { code: 0, out: `Domus ${version}\n`, err: '' });
});

test("called as xl, help has the lines that xl's completion for bash reads", async () => {
  const lines = (await xl('help')).out.split('\n').slice(4);
  const words = lines.filter((one) => one.startsWith(' ')).map((one) => one.trim().split(' ')[0]);
  assert.deepEqual(words, (await allCommands()).map(({ name }) => name).toSorted());
  assert.deepEqual(await xl(), await xl('help'));
});

test('without a xend every command says so in one line', async () => {
  let err = '';
  const code = await run(['info'], {
    out: () => {},
    err: (text) => (err += text),
    paths: findPaths({ DOMUS_HOME: '/nowhere' }),
  });
  assert.equal(code, 1);
  assert.equal(
    err,
    'Error: Error connecting to xend, is xend running? (nobody listens on /nowhere/run/xend.sock; start it with: xend start)\n',
  );
});

test("a xend of another user's is called that", () => {
  assert.equal(
    describe(new ApiError('no-xend', 0, 'connect EACCES /var/run/xend/xend.sock')),
    "Error connecting to xend: it is another user's (connect EACCES /var/run/xend/xend.sock)",
  );
});

test('create -n prints the configuration and makes nothing', async () => {
  const { out, code } = await xm('create', '-n', '-q', configFile, 'extra=4', 'domus_boot_options=', 'nics=0');
  assert.equal(code, 0);
  assert.deepEqual(parseSxp(out), [
    [
      'vm',
      ['name', 'guest'],
      ['memory', '32'],
      ['image', ['linux', ['kernel', home.kernel], ['root', '/dev/sda1 ro'], ['args', '4'], ['boot_options', '']]],
      ['device', ['vbd', ['uname', `file:${home.disk}`], ['dev', 'sda1'], ['mode', 'w']]],
    ],
  ]);
  assert.deepEqual((await xm('list')).out.split('\n').length, 3);
});

test('called as xl, create -n prints what xl would, and says on standard error what it read', async () => {
  const { out, err, code } = await xl('create', '-n', configFile);
  assert.deepEqual([code, err], [0, `Parsing config from ${configFile}\n`]);
  const { domid, config } = JSON.parse(out);
  assert.deepEqual([domid, config.c_info, config.b_info.target_memkb], [null, { type: 'pv', name: 'guest' }, 32 << 10]);
  assert.equal(config.disks[0].pdev_path, home.disk);
  // What Debian's xendomains looks for.
  assert.match(out, /^ +"name": "guest",?$/m);
});

test('a life: create, list, domid, pause, unpause, destroy', async () => {
  const created = await xm('create', configFile);
  assert.deepEqual(
    { ...created, out: created.out.replace(/\d+\n$/, 'PORT') },
    {
      code: 0,
      out: `Using config file "${configFile}".\nStarted domain guest, console on port PORT`,
      err: '',
    },
  );
  const { out } = await xm('list');
  const rows = out.split('\n');
  assert.equal(rows[0], 'Name              Id  Mem(MB)  CPU  State  Time(s)  Console');
  assert.match(rows[1]!, /^Domain-0 {11}0 {2} {1,6}\d+ {4}0 {2}r---- {1,8}[\d.]+ {8}$/);
  assert.match(rows[2]!, /^guest {12} {1,2}\d+ {7}32 {4}0 {2}-b--- {6}1\.5 {4,7}\d{4,5}$/);
  const domid = (await xm('domid', 'guest')).out.trim();
  assert.equal((await xm('domname', domid)).out, 'guest\n');
  assert.equal((await xm('pause', domid)).code, 0);
  assert.match((await xm('list', 'guest')).out, /--p--/);
  assert.equal((await xm('unpause', 'guest')).code, 0);
  const [sxp] = parseSxp((await xm('list', '-l', 'guest')).out) as string[][];
  assert.deepEqual(sxp!.slice(0, 3), ['domain', ['id', domid], ['name', 'guest']]);
  assert.equal(JSON.parse((await xm('list', '--json')).out)[1].name, 'guest');
  const [long] = JSON.parse((await xm('list', '-l', '--format=xl', 'guest')).out);
  assert.equal(long.config.c_info.name, 'guest');
  assert.deepEqual(long.config.disks[0], {
    pdev_path: home.disk,
    vdev: 'sda1',
    backend: 'phy',
    format: 'raw',
    removable: 0,
    readwrite: 1,
    is_cdrom: 0,
  });
  assert.match((await xm('list', '--format=xl', '-v', 'guest')).out, /\n.{40} +\d+ .*-b---- .* [0-9a-f-]{36} /);
  assert.equal((await xm('list', '--state=paused')).out.split('\n').length, 2);
  assert.match(
    (await xm('create', '-q', configFile)).err,
    /^Error: vm name clash: guest \(domain \d+ has that name\)\n$/,
  );
  assert.equal((await xm('destroy', 'guest')).code, 0);
  assert.match((await xm('list', 'guest')).err, /invalid domain:guest/);
});

test('a disk is listed by the name that it was given, as in list -l', async () => {
  assert.equal((await xm('create', '-q', configFile)).code, 0);
  const disk = `(uname file:${home.disk}) (node ${home.disk}) (index 0)`;
  const listed = (await xm('vbd-list', 'guest')).out;
  assert.equal(listed, `(vbd (idx 0) (vdev 2049) (mode w) (dev sda1) ${disk})\n`);
  assert.ok((await xm('list', '-l', 'guest')).out.replace(/\s+/g, ' ').includes(`(dev sda1) ${disk}`));
  assert.equal((await xm('destroy', 'guest')).code, 0);
});

test('memory and vCPUs stay as they are; how far memory may grow can be said', async () => {
  assert.equal((await xm('create', '-q', configFile)).code, 0);
  const silent = { code: 0, out: '', err: '' };
  const kept = 'Error: domain "guest" keeps its 32 MiB of memory while it exists: ballooning is not implemented\n';
  assert.deepEqual(await xm('balloon', 'guest', '16'), { code: 1, out: '', err: kept });
  for (const same of ['32', '32m', '32768k', '33554432b']) assert.deepEqual(await xm('mem-set', 'guest', same), silent);
  assert.deepEqual(await xm('maxmem', 'guest', '64'), silent);
  assert.match((await xm('list', '-l', 'guest')).out, /\(maxmem 64\)/);
  assert.equal((await xm('mem-max', 'guest', '16')).err, 'Error: maxmem (16) is less than memory (32)\n');
  assert.match((await xm('mem-max', 'guest', '1t')).err, /^Error: 1048576 MiB of memory is too much: /);
  assert.deepEqual(await xm('vcpu-set', 'guest', '1'), silent);
  assert.equal(
    (await xm('vcpu-set', 'guest', '2')).err,
    'Error: domain "guest" keeps its one vCPU while it exists: adding and taking away CPUs is not implemented\n',
  );
  assert.equal((await xm('destroy', 'guest')).code, 0);
});

test('who interrupts xm create has no domain, and the exit code of that', async () => {
  const { events } = xend.daemon.xend.ports;
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const env = { ...process.env, DOMUS_HOME: path.dirname(home.paths.run) };
    const child = spawn(path.join(BIN, 'xm'), ['create', '-q', configFile], { env, stdio: 'inherit' });
    const stop = events.listen(({ type, data }) => {
      if (type === 'operation.step' && data?.name === 'create' && data.at === 1) child.kill(signal);
    });
    assert.deepEqual(await once(child, 'exit'), [code, null]);
    stop();
    assert.equal((await xm('domid', 'guest')).err, 'Error: invalid domain:guest\n');
  }
});

test('a core goes where it is wanted, or into the folder of cores', async () => {
  assert.equal((await xm('create', '-q', configFile)).code, 0);
  assert.deepEqual(await xm('rename', 'guest', ''), { code: 1, out: '', err: 'Error: missing vm name\n' });
  const { code, err } = await xm('dump-core', 'guest');
  assert.deepEqual([code, err], [0, '']);
  assert.match(readdirSync(path.join(home.paths.lib, 'dump')).join(), /^\d{8}T\d{6}Z-guest\.\d+\.core$/);
  assert.equal((await xm('destroy', 'guest')).code, 0);
});

test('channels: the one of the agent, as the store has it', async () => {
  const { domid } = await xend.client.call('POST /domains', { config: home.config('spoken') });
  const { code, out } = await xl('channel-list', 'spoken');
  const [header, row, ...more] = out.split('\n');
  assert.equal(header, `Idx BE state evt-ch ring-ref connection${' '.repeat(31)}`);
  assert.match(row!, /^1 {3}0 {2}\d {5}-1 {5}-1 {7}socket {5}\/.*agent\.sock +$/);
  assert.deepEqual([code, more], [0, ['']]);
  const [channel] = JSON.parse((await xm('channel-list', '--json', String(domid))).out);
  assert.deepEqual([channel.id, channel.name], [1, 'domus.agent']);
  await xend.client.call('POST /domains/:name/destroy', { name: 'spoken' });
});

test('Domain-0 is listed with its CPUs and its share of them', async () => {
  const vcpus = (await xl('vcpu-list')).out.trim().split('\n');
  assert.equal(vcpus.length - 1, os.cpus().length);
  assert.match(vcpus[1]!, /^Domain-0 +0 +0 +0 +r-- +\d+\.\d all \/ all$/);
  assert.match((await xm('vcpu-list', 'Domain-0')).out, /^Domain-0 +0 +0 +0 +r-- +\d+\.\d any cpu$/m);
  assert.match((await xm('sched-credit')).out, /^Domain-0 +0 +256 +0$/m);
  const pool = 'Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n';
  assert.deepEqual(await xm('sched-credit', '-s'), { code: 0, out: pool, err: '' });
});

test('xl says in its own words what it does not know', async () => {
  const err = async (...argv: string[]) => (await xl(...argv)).err;
  assert.equal(await err('pause', 'nope'), 'nope is an invalid domain identifier (rc=-6)\n');
  assert.equal(
    await err('domid', 'nope'),
    "Can't get domid of domain name 'nope', maybe this domain does not exist.\n",
  );
  assert.deepEqual(await xl('frob'), { code: 1, out: '', err: 'command not implemented\n' });
  assert.equal((await xm('create', '-q', configFile)).code, 0);
  const domid = (await xl('domid', 'guest')).out.trim();
  assert.deepEqual(await xl('shutdown', 'guest'), { code: 0, out: '', err: `Shutting down domain ${domid}\n` });
  assert.equal(await err('reboot', 'guest'), `Rebooting domain ${domid}\n`);
  assert.equal(await err('destroy', 'guest'), '');
});

test('Domain-0 is up as long as the machine, whose clock is known', async () => {
  const [zero] = JSON.parse((await xm('list', '--json', 'Domain-0')).out);
  assert.ok(Math.abs(zero.upTimeS - os.uptime()) < 60);
  if (/^cpu MHz/m.test(readFileSync('/proc/cpuinfo', 'latin1')))
    assert.match((await xm('info')).out, /^cpu_mhz {16}: [1-9]\d*$/m);
});

test('consoles: a row for each, with who types; the port that the configuration names, or an error', async () => {
  const [free] = await freePorts(1);
  assert.equal((await xm('create', '-q', configFile, `console=${free}`)).code, 0);
  const domid = (await xm('domid', 'guest')).out.trim();
  const head = `Dom Port  Id Connection\n`;
  assert.equal((await xm('consoles')).out, `${head}${domid.padStart(3)} ${free} ${domid.padStart(3)} \n`);
  const other = await xm('create', '-q', configFile, 'name=other', `console=${free}`);
  assert.deepEqual(other, {
    code: 1,
    out: '',
    err: `Error: cannot build domain "other": console port in use: ${free}\n`,
  });
  const person = net.connect(free!, '127.0.0.1');
  await once(person, 'data');
  assert.match((await xm('consoles')).out, /\d 127\.0\.0\.1:\d+\n$/);
  assert.match((await xm('list', '-l', 'guest')).out, /\(connected 127\.0\.0\.1 \d+\)/);
  const xencons = spawn(path.join(BIN, 'xencons'), ['localhost', String(free)], { stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '';
  for await (const chunk of xencons.stdout) {
    shown += chunk;
    if (shown.includes('xm console -f takes over')) person.destroy();
    if (shown.includes('types no more')) xencons.stdin.write('poweroff\n');
  }
  assert.match(shown, /fake login: [\s\S]*127\.0\.0\.1:\d+ types; you are watching/);
  await xm('destroy', 'guest'); // It may be gone by itself before.
  assert.equal((await xm('consoles')).out, head);
});

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

test('call asks xend for what old programs asked it', async () => {
  const { client } = xend;
  await client.call('POST /domains', { config: home.config('called') });
  assert.equal((await xm('call', 'domains')).out, '(Domain-0 called)\n');
  assert.match((await xm('call', 'xend_domain', 'called')).out, /^\(domain\n {4}\(id \d+\)\n {4}\(name called\)\n/);
  assert.equal((await xm('call', 'domain_unpause', 'called')).code, 0);
  const refused = await xm('call', 'domain', 'nope');
  assert.deepEqual(refused, { code: 1, out: 'ERROR: invalid domain:nope\n', err: '' });
  assert.match((await xm('call', 'xend_node_log')).out, /xend/);
  const traced = await xm('call', '-a', '-d', 'domain_pincpu', 'called', '-1');
  assert.deepEqual(traced, { code: 0, out: '0\n', err: 'POST /xend/domain/called cpu=-1&op=pincpu\n200 OK\n' });
  assert.equal((await xm('call', 'domain_destroy', 'called', 'halt')).code, 0);
});

test('colour and progress are for terminals alone', async () => {
  let [out, err] = ['', ''];
  const io = {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    paths: home.paths,
  };
  await run(['create', '-q', configFile, 'name=shown'], { ...io, errIsTerminal: true, colour: true });
  assert.equal(err, '\r\x1b[Kmaking domain shown ...\r\x1b[K');
  await run(['pause', 'shown'], io);
  await run(['list', 'shown'], { ...io, colour: true });
  assert.match(out, /^\x1b\[1mName.*Console\x1b\[22m\n\x1b\[33mshown .*--p--.*\x1b\[39m\n$/);
  [out, err] = ['', ''];
  await run(['list', 'shown'], io);
  await run(['destroy', 'shown'], io);
  assert.doesNotMatch(out + err, /\x1b/);
});

test("info -c: what xend's settings came to, by their names in its file", async () => {
  const { code, out } = await xm('info', '-c');
  assert.equal(code, 0);
  assert.match(out, /^console-port-base {21}: 9600$/m);
  assert.match(out, /^enable-dump {27}: no$/m);
  assert.match(out, /^xend-tls-cert {25}: \(none\)$/m);
  assert.equal(JSON.parse((await xm('info', '-c', '--json')).out)['xend-http-server'], false);
});

test('info and dmesg', async () => {
  const { out } = await xm('info');
  assert.match(out, /^system {17}: \w+\nhost {19}: .*\nrelease {16}: /);
  assert.match((await xm('dmesg')).out, /^\(XEN\) \[.*\] Domus /);
  assert.equal((await xm('dmesg', '-c')).out, '');
  assert.equal((await xm('dmesg')).out, '\n');
});

const BIN = fileURLToPath(new URL('../../bin', import.meta.url));
const environment = { ...process.env, DOMUS_HOME: path.join(home.dir, 'home') };

test('xm create -c shows the console from its first line, passes input, and tells of a crash', async () => {
  const link = path.join(home.dir, 'xm');
  symlinkSync(path.join(BIN, 'xm'), link);
  const child = spawn(link, ['create', '-q', '-c', configFile], { env: environment, cwd: home.dir });
  let [out, err] = ['', ''];
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  for await (const chunk of child.stdout) {
    const before = out;
    out += chunk;
    if (out.includes('login:') && !before.includes('login:')) child.stdin.write('crash\n');
  }
  if (child.exitCode === null) await once(child, 'exit');
  assert.match(out, /^fake kernel, domain \d+, line: .* root=\/dev\/sda1 ro\r\nfake login: \[crash\]\r\n$/);
  assert.match(err, /^Error: domain \d+ "guest" crashed: fake guest panicked: told to \(xm dmesg tells more\)\n$/);
  assert.equal(child.exitCode, 1);
});

test('xend and its domains as processes: start, kill -9, start again, stop', async () => {
  const own = makeHome();
  const env = { ...process.env, DOMUS_HOME: path.join(own.dir, 'home') };
  const sh = (tool: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(path.join(BIN, tool), args, { env, encoding: 'utf8' });
    return { status, stdout, stderr };
  };
  const config = path.join(own.dir, 'vm');
  writeFileSync(config, `kernel = "${own.kernel}"\nmemory = 32\n`);
  try {
    assert.equal(sh('xend', 'status').status, 3);
    assert.deepEqual(sh('xend', 'start'), { status: 0, stdout: '', stderr: '' });
    assert.equal(sh('xend', 'start').status, 0, 'starting a running xend succeeds');
    assert.deepEqual(sh('xm', 'create', '-q', config), { status: 0, stdout: '', stderr: '' });
    const killed = readPidFile(path.join(own.paths.run, 'xend.pid'))!;
    process.kill(killed.pid, 'SIGKILL');
    assert.ok(await waitGone(killed, 5000));
    assert.equal(sh('xend', 'status').status, 3);
    assert.equal(sh('xend', 'restart').status, 0);
    assert.match(sh('xm', 'list', 'vm').stdout, /^vm .*-b---/m);
    assert.equal(sh('xm', 'destroy', 'vm').status, 0);
    assert.deepEqual(readdirSync(path.join(own.paths.run, 'domains')), []);
    assert.match(sh('xend', 'frob').stderr, /^xend: not an option: frob/);
  } finally {
    assert.equal(sh('xend', 'stop').status, 0);
    assert.equal(sh('xend', 'status').status, 3);
    own.remove();
  }
});
