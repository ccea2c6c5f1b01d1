/** Completion: the scripts in real shells, as far as these are on this machine; zsh's is only read by it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { optionsOf } from './command.ts';
import { allCommands } from './commands/index.ts';
import { completionScript, SHELLS } from './completion.ts';

const COMMANDS = await allCommands();

const there = (shell: string): boolean => spawnSync(shell, ['-c', 'true']).status === 0;
const FAKE_XM = `xm() { printf 'Name  Id\\nDomain-0  0\\nweb  1\\nmail  2\\n'; }\n`;

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-completion-'));
after(() => rmSync(dir, { recursive: true, force: true }));
/** The script for a shell, in a file: fish takes none from a socket. */
function scriptFile(shell: (typeof SHELLS)[number]): string {
  const file = path.join(dir, `xm.${shell}`);
  writeFileSync(file, completionScript(shell, COMMANDS));
  return file;
}

/** What fish offers for a line, without descriptions. */
function fishOffers(line: string): string[] {
  const script = `source ${scriptFile('fish')}
function xm; printf 'Name  Id\\nDomain-0  0\\nweb  1\\nmail  2\\n'; end
complete -C '${line}'`;
  const env = { ...process.env, HOME: dir };
  const { stdout, stderr } = spawnSync('fish', ['--no-config', '-c', script], { encoding: 'utf8', cwd: '/', env });
  assert.equal(stderr, '');
  return stdout.split('\n').flatMap((one) => (one === '' ? [] : [one.split('\t')[0]!.replace(/\/$/, '')]));
}

/** What bash offers for a line whose last word is being typed. */
function bashOffers(line: string): string[] {
  const words = line.split(' ');
  const script = `${completionScript('bash', COMMANDS)}${FAKE_XM}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
_xm; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync('bash', ['-c', script], { encoding: 'utf8', cwd: '/' });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  return stdout.split('\n').filter(Boolean);
}

// biome-ignore format: a table
const OFFERS: [line: string, offers: string[]][] = [
  ['xm sh',                  ['shutdown']],
  ['xm doma',                []],
  ['xm domi',                ['domid']],
  ['xm pause ',              ['Domain-0', 'web', 'mail']],
  ['xm pause w',             ['web']],
  ['xm pause web ',          []],
  ['xm list web ma',         ['mail']],
  ['xm shutdown --r',        ['--reboot']],
  ['xm shutdown -w w',       ['web']],
  ['xm create -c --defconfig /et', ['/etc']],
  ['xm create /et',          ['/etc']],
  ['xm create x memo',       ['memory=']],
  ['xm create -f x vm memo', ['memory=']],
  ['xm help shut',           ['shutdown']],
  ['xm completion f',        ['fish']],
];
const noBash = there('bash') ? false : 'there is no bash here';
for (const [line, offers] of OFFERS)
  test(`bash offers for "${line}": ${offers.join(' ')}`, { skip: noBash }, () =>
    assert.deepEqual(bashOffers(line), offers),
  );

/** fish is told what a command's arguments are, not at which place, and offers words that have all letters of what is typed. */
const OTHERWISE_IN_FISH = ['xm pause web ', 'xm doma'];
test('fish offers the same', { skip: there('fish') ? false : 'there is no fish here' }, () => {
  for (const [line, offers] of OFFERS)
    if (!OTHERWISE_IN_FISH.includes(line)) assert.deepEqual(fishOffers(line).sort(), offers.toSorted(), line);
});

test('every command, alias and option is in every script', () => {
  for (const shell of SHELLS) {
    const script = completionScript(shell, COMMANDS);
    for (const command of COMMANDS) {
      for (const name of [command.name, ...(command.aliases ?? [])])
        assert.ok(script.includes(name), `${shell}: ${name}`);
      for (const option of Object.keys(optionsOf(command)))
        assert.ok(script.includes(shell === 'fish' ? `-l ${option}` : `--${option}`), `${shell}: --${option}`);
    }
  }
});

for (const shell of SHELLS) {
  const skip = there(shell) ? false : `there is no ${shell} here`;
  test(`${shell} finds no mistake in its script`, { skip }, () => {
    const { stderr } = spawnSync(shell, ['-n', scriptFile(shell)], { encoding: 'utf8' });
    assert.equal(stderr, '');
  });
}
