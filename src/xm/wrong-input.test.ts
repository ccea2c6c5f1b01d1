/**
 * Every command with wrong words: one line `Error: ...` on standard error, exit code 1, nothing begun. What is wrong for any
 * command follows from its value: too few and too many arguments, an option that is not there, options that contradict
 * each other, a domain that does not exist. What only one command can get wrong is a row of OWN, and a command whose
 * arguments are more than domains and files has rows there.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { makeHome, startXend } from '../xend/testing.ts';
import { argumentCount, type Command, optionsOf, PARAMS } from './command.ts';
import { allCommands, ENTRIES } from './commands/index.ts';
import { run } from './main.ts';

const COMMANDS = await allCommands();

const home = makeHome();
const xend = await startXend(home);
after(async () => {
  await xend.end();
  home.remove();
});
const config = path.join(home.dir, 'guest');
writeFileSync(config, `kernel = "${home.kernel}"\nmemory = 32\nname = "guest"\n`);

/** CONFIG is a configuration file that is right. */
// biome-ignore format: a table
const OWN: readonly [line: string, error: string | RegExp][] = [
  ['frob',                         "Error: Unknown command: frob\nTry 'xm help' for more information.\n"],
  ['dom',                          "Error: Unknown command: dom (domid or domname?)\nTry 'xm help' for more information.\n"],
  ['cons',                         "Error: Unknown command: cons (console or consoles?)\nTry 'xm help' for more information.\n"],
  ['destory x',                    "Error: Unknown command: destory (is destroy meant?)\nTry 'xm help' for more information.\n"],
  ['list --jsn',                   'Error: list: option --jsn not recognized (is --json meant?)\n'],
  ['attach x',                     'Error: attach is not implemented in Domus: see console; block-attach is about disks\n'],
  ['help nope',                    "Error: Unknown command: nope\nTry 'xm help' for more information.\n"],
  ['pci-list x',                   'Error: pci-list is not implemented in Domus\n'],
  ['bvt x 1 2 3 4 5',              'Error: bvt is not implemented in Domus: the scheduler is the credit scheduler, see sched-credit\n'],
  ['bal nope 32',                  'Error: invalid domain:nope\n'],
  ['balloon 0 32',                 'Error: Domain-0 is this machine itself: xm cannot change the memory of it\n'],
  ['mem-set nope 1x',              'Error: balloon: Invalid value: 1x: MB is a whole number of MiB, or one with b, k, m, g or t behind it\n'],
  ['mem-set nope 0',               /^Error: balloon: Invalid value: 0: MB is /],
  ['mem-set nope 1023k',           /^Error: balloon: Invalid value: 1023k: MB is /],
  ['maxmem nope -1',               /^Error: maxmem: Invalid value: -1: MB is /],
  ['mem-max nope 64',              'Error: invalid domain:nope\n'],
  ['vcpu-set nope 0',              'Error: vcpu-set: Invalid value: 0: COUNT is a whole number of at least 1\n'],
  ['vcpu-set nope many',           /^Error: vcpu-set: Invalid value: many: /],
  ['vcpu-set Domain-0 1',          'Error: Domain-0 is this machine itself: xm cannot change the vCPUs of it\n'],
  ['create -L saved',              'Error: create: saved domains are not implemented in Domus (--load)\n'],
  ['sched-credit -p other',        "Error: sched-credit: unknown cpupool 'other': there is Pool-0\n"],
  ['sched-credit -s -w 3',         /^Error: .*schedparam.*weight|weight.*schedparam/],
  ['push a b:c',                   'Error: push is not implemented in Domus: xm cp copies files into a domain and out of it: xm cp FILE DOM:PATH\n'],
  ['help create nope',             'Error: help: Invalid argument(s)\n'],
  ['call -x 127.0.0.1:99999 node', 'Error: call: Invalid value: 127.0.0.1:99999: --xend is HOST:PORT\n'],
  ['dump-core nope',               'Error: invalid domain:nope\n'],
  ['dump-core Domain-0',           'Error: Domain-0 is this machine itself: xm cannot dump it\n'],
  ['sched-credit -d nope -w -5',   'Error: sched-credit: Invalid value: -5: weight is a whole number from 1 to 65535\n'],
  ['list nope',                    'Error: invalid domain:nope\n'],
  ['call frob',                    /^Error: call: no function frob; there are node, /],
  ['call domain',                  'Error: call: domain takes id\n'],
  ['call -x here node',            'Error: call: Invalid value: here: --xend is HOST:PORT\n'],
  ['call -x 127.0.0.1:1 node',     /^Error: Error connecting to xend, is xend running\? \(.*\)\n$/],
  ['list --state=asleep',          'Error: list: Invalid value: asleep: a state is one of all, running, blocked, paused, shutdown, crashed\n'],
  ['list --format=fancy',          'Error: list: Invalid value: fancy: --format is xm or xl\n'],
  ['destroy Domain-0',             'Error: Domain-0 is this machine itself: xm cannot destroy it\n'],
  ['console 0',                    'Error: No console information\n'],
  ['shutdown',                     'Error: Missing domain\n'],
  ['shutdown -a x',                "Error: Can't specify a domain together with --all\n"],
  ['shutdown -w -R x',             "Error: Can't specify wait and reboot\n"],
  ['shutdown -H -R x',             "Error: Can't specify halt and reboot\n"],
  ['completion csh',               'Error: completion: Invalid value: csh: SHELL is one of bash, zsh, fish\n'],
  ['top',                          'Error: top: standard output is no terminal: --batch prints tables\n'],
  ['top -b -i 0',                  'Error: top: Invalid value: 0: the number of iterations is a whole number of at least 1\n'],
  ['top -b -i x',                  /^Error: top: Invalid value: x: /],
  ['top -b -d soon',               'Error: top: Invalid value: soon: the delay is a number of seconds\n'],
  ['shutdown --timeout=x 1',       /^Error: shutdown: Invalid value: x: timeout is a whole number/],
  ['block-attach nope phy:a,b',    'Error: Invalid disk specifier: phy:a,b (TYPE:WHAT,DEVICE,MODE is wanted)\n'],
  ['block-attach nope file:/x sdb', 'Error: block-attach: Missing arguments\n'],
  ['block-detach nope sdb',        'Error: invalid domain:nope\n'],
  ['vbd-create nope file:/x sdb q', /^Error: Invalid disk specifier: file:\/x,sdb,q/],
  ['vbd-destroy Domain-0 0',       'Error: Domain-0 is this machine itself: xm cannot detach a disk from it\n'],
  ['rename nope other',            'Error: invalid domain:nope\n'],
  ['sysrq nope xx',                'Error: sysrq: Invalid value: xx: LETTER is one letter or digit\n'],
  ['trigger nope frob',            'Error: trigger: Invalid value: frob: TRIGGER is nmi, reset, power\n'],
  ['pincpu nope x',                'Error: pincpu: Invalid value: x: CPU is a whole number of at least -1\n'],
  ['vcpu-pin nope x all',          'Error: vcpu-pin: Invalid value: x: VCPU is a whole number of at least 0\n'],
  ['vcpu-pin nope 0 5-x',          'Error: Invalid value: 5-x: 5-x is no CPU (0-3,5,^1 or all is wanted)\n'],
  ['vcpu-pin nope 0 0 1',          'Error: vcpu-pin: CPUs to prefer cannot be set: SOFT is "all"\n'],
  ['sched-credit -w 0 -d nope',    'Error: sched-credit: Invalid value: 0: weight is a whole number from 1 to 65535\n'],
  ['sched-credit -c 10',           'Error: sched-credit: Missing domain\n'],
  ['sched-credit -d Domain-0 -w 9', 'Error: Domain-0 is this machine itself: xm cannot schedule it\n'],
  ['sched-credit -s -t 5',         /^Error: sched-credit: .*no time slice or rate limit to set\n$/],
  ['sched-credit -p Pool-0 -s -r 1000', /^Error: sched-credit: .*no time slice or rate limit to set\n$/],
  ['profile Domain-0',             'Error: Domain-0 is this machine itself: xm cannot profile it\n'],
  ['profile x 0',                  'Error: profile: Invalid value: 0: 0.1 to 600 seconds\n'],
  ['profile x long',               'Error: profile: Invalid value: long: 0.1 to 600 seconds\n'],
  ['profile x -r no',              'Error: profile: Invalid value: no: the number of regions, at most 100\n'],
  ['profile x -n no',              'Error: profile: Invalid value: no: the number of lines\n'],
  ['exec nope true',               'Error: invalid domain:nope\n'],
  ['exec nope',                    'Error: exec: Missing command\n'],
  ['exec -e A nope true',          'Error: exec: Invalid value: A: --env is NAME=VALUE\n'],
  ['exec --timeout=x nope true',   'Error: Invalid value: x: --timeout is a number of seconds\n'],
  ['exec 0 true',                  'Error: Domain-0 is this machine itself: xm cannot run commands by an agent in it\n'],
  ['cp a b',                       'Error: cp: one of the two is in a domain: DOM:PATH\n'],
  ['cp a:/b c:/d',                 'Error: cp: from one domain to another it goes by way of this machine\n'],
  ['cp a nope:b',                  'Error: cp: nope:b: the path in the domain begins with /\n'],
  ['cp a nope:/b',                 'Error: invalid domain:nope\n'],
  ['create nope',                  /^Error: Cannot open config file "nope": no such file here or in .*\n$/],
  ['create a b',                   'Error: create: one configuration file at a time: a and b\n'],
  ['create CONFIG kernel=/nope',   'Error: Kernel image does not exist: /nope (no such file)\n'],
  ['create CONFIG memory=x',       /^Error: memory=x: Invalid value: x/],
  ['create CONFIG disk=phy:a,b',   /^Error: .*Invalid disk specifier: phy:a,b/],
  ['call constructor',             /^Error: call: no function constructor; there are /],
  ['call __proto__',               /^Error: call: no function __proto__; there are /],
  ['list --state=constructor',     /^Error: list: Invalid value: constructor: a state is one of /],
  ['create CONFIG restart=constructor', /invalid restart mode: constructor/],
  ['create --path',                /^Error: create: .*--path.*\n$/],
  ['create --p CONFIG',            'Error: create: option --p is not unique: it may be --paused or --path\n'],
  ['create --pa=x CONFIG',         'Error: create: option --pa is not unique: it may be --paused or --path\n'],
];

async function xm(words: readonly string[]): Promise<{ code: number; err: string }> {
  let err = '';
  const code = await run(words, {
    out: () => {},
    err: (text) => {
      err += text;
    },
    paths: home.paths,
  });
  return { code, err };
}

async function refuses(words: readonly string[], error: string | RegExp): Promise<void> {
  const { code, err } = await xm(words);
  if (typeof error === 'string') assert.equal(err, error);
  else assert.match(err, error);
  assert.match(err, /^Error: [^\n]+\n(Try 'xm help' for more information\.\n)?$/, 'one line');
  assert.equal(code, 1);
}

test('an empty word is no name', async () => {
  await refuses(['list', ''], 'Error: invalid domain:\n');
  await refuses(['rename', 'nope', ''], 'Error: invalid domain:nope\n');
  await refuses(['create', '-n', config, `name=${'x'.repeat(256)}`], /invalid vm name: it has 256 characters/);
});

for (const [line, error] of OWN) {
  test(`xm ${line}`, () =>
    refuses(
      line.split(' ').map((word) => (word === 'CONFIG' ? config : word)),
      error,
    ));
}

const plain = (param: string): string => param.replace(/[[\].]/g, '');
/** Something to stand where an argument is wanted. */
const word = (param: string): string => (plain(param) === 'DOM' ? 'nope' : '1');
const given = (command: Command, option: string): string =>
  optionsOf(command)[option]?.type === 'string' ? `--${option}=1` : `--${option}`;
const required = ({ params = [] }: Command) => params.filter((param) => !param.startsWith('['));

for (const command of COMMANDS) {
  const { name, params = [], exclusive = [], passesRest } = command;
  const { least, most } = argumentCount(command);
  const enough = required(command).map(word);

  for (let given = 0; given < least; given++) {
    test(`xm ${name} with ${given} of ${least} arguments`, () =>
      refuses(
        [name, ...enough.slice(0, given)],
        params[given]!.startsWith('DOM') ? `Error: ${name}: Missing domain\n` : `Error: ${name}: Missing arguments\n`,
      ));
  }
  if (most !== Number.POSITIVE_INFINITY && name !== 'help') {
    test(`xm ${name} with an argument too many`, () =>
      refuses([name, ...new Array(most + 1).fill('1')], `Error: ${name}: Invalid argument(s)\n`));
  }
  if (name !== 'help') {
    test(`xm ${name} with options that it does not have`, async () => {
      await refuses([name, '--frobnicate', ...enough], `Error: ${name}: option --frobnicate not recognized\n`);
      await refuses([name, '-Y', ...enough], `Error: ${name}: option -Y not recognized\n`);
      if (!passesRest) await refuses([name, ...enough, '-Y'], `Error: ${name}: option -Y not recognized\n`);
    });
  }
  for (const [option, { type }] of Object.entries(optionsOf(command))) {
    if (type === 'string') test(`xm ${name} --${option} without a value`, () => refuses([name, `--${option}`], /--/));
    else test(`xm ${name} --${option}=x`, () => refuses([name, `--${option}=x`, ...enough], /--/));
  }
  for (const [one, other] of exclusive) {
    test(`xm ${name} --${one} --${other}`, () =>
      refuses(
        [name, given(command, one), given(command, other), ...enough],
        `Error: Can't specify ${one} and ${other}\n`,
      ));
  }
  if (params.some((param) => param.startsWith('DOM'))) {
    test(`xm ${name} with a domain that does not exist`, async () => {
      const { code, err } = await xm([name, ...enough]);
      assert.match(err, /^Error: [^\n]+\n$/);
      assert.equal(code, 1);
    });
  }
  if (params.some((param) => plain(param) !== 'DOM' && PARAMS[plain(param)] === undefined)) {
    test(`xm ${name} has rows of its own among the wrong inputs`, () =>
      assert.ok(OWN.some(([line]) => line.split(' ')[0] === name)));
  }
}

test('what was wrong has left nothing behind', async () => {
  const domains = await xend.client.call('GET /domains', {});
  assert.deepEqual(
    domains.map(({ name }) => name),
    ['Domain-0'],
  );
});

const STRANGE = [
  '',
  ' ',
  '-',
  '..',
  '/',
  '%zz',
  'a\0b',
  '1e999',
  '\ud800',
  '__proto__',
  'constructor',
  '9'.repeat(400),
];
for (const { names } of ENTRIES.filter(({ names: [name] }) => name !== 'help' && name !== 'schema')) {
  test(`xm ${names[0]} takes strange words for what they are`, async () => {
    for (const strange of STRANGE) {
      for (const words of [[strange], [strange, strange], ['nope', strange], ['nope', strange, strange]]) {
        const { code, err } = await xm([names[0]!, ...words]);
        const line = JSON.stringify(words);
        assert.doesNotMatch(err, /undefined|\[object|is not a function|not iterable|TypeError/, line);
        assert.match(err, /^(Warning: [^\n]+\n)*(E(rror|RROR): [^\n]+\n)?$/, line);
        assert.ok(code === 0 || err !== '', line);
      }
    }
  });
}
