/** Completion: the bash script in a real bash; the other shells' scripts when they are on this machine. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { optionsOf } from './command.ts';
import { allCommands } from './commands/index.ts';
import { completionScript, SHELLS } from './completion.ts';

const COMMANDS = await allCommands();

const there = (shell: string): boolean => spawnSync(shell, ['-c', 'true']).status === 0;
const FAKE_XM = `xm() { printf 'Name  Id\\nDomain-0  0\\nweb  1\\nmail  2\\n'; }\n`;

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
    const { stderr } = spawnSync(shell, ['-n'], { input: completionScript(shell, COMMANDS), encoding: 'utf8' });
    assert.equal(stderr, '');
  });
}
