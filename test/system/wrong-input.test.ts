/**
 * What a person gets to see for every ordinary mistake: one line on standard error that says what and where, exit code 1,
 * and nothing left behind. Kernels are made here, so most of this needs no real guest.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { XEN_ELFNOTE } from '../../src/abi/elf.ts';
import { LINUX_NOTES, makeKernel, type TestNotes } from '../../src/hypervisor/builder/elf-for-tests.ts';
import { NOTHING, realGuest, System } from './harness.ts';

const { guest } = await realGuest();

const VIRT_BASE = 0xffffffff80000000n;
const CODE_AT = 0x100000;
const NOTES: TestNotes = { ...LINUX_NOTES, [XEN_ELFNOTE.ENTRY]: VIRT_BASE + BigInt(CODE_AT) };
const UD2 = Uint8Array.of(0x0f, 0x0b);
/** A kernel that does not survive its first instruction, which is no reason not to build a domain from it. */
const BRIEF = makeKernel([{ paddr: CODE_AT, bytes: UD2 }], NOTES);

describe('what is wrong is said in one line', () => {
  const system = new System();
  const at = (name: string) => path.join(system.own.folder, name);
  const kernel = system.file('brief', BRIEF);
  const disk = system.disk('disk.img');
  const initrd = system.file('initrd', new Uint8Array(5000));
  mkdirSync(at('folder'));
  system.file('empty', '');
  system.file('text', 'This file is about kernels, but it is not one of them at all, however long.\n');
  system.file('no-notes', makeKernel([{ paddr: CODE_AT, bytes: UD2 }], {}));
  system.file('big', makeKernel([{ paddr: CODE_AT, bytes: UD2, memsz: 50 << 20 }], NOTES));
  system.file('cut', BRIEF.subarray(0, BRIEF.length - 1));
  system.file('arm', damaged(BRIEF, 18, [183, 0]));

  // biome-ignore format: a table
  const CASES: readonly [story: string, config: string, error: RegExp][] = [
    ['a kernel that is not there',             `kernel = '${at('none')}'`,                                /^Kernel image does not exist: \S+none \(no such file\)$/],
    ['a kernel that is a folder',              `kernel = '${at('folder')}'`,                              /^Kernel image does not exist: \S+folder \(it is a folder\)$/],
    ['a kernel that is empty',                 `kernel = '${at('empty')}'`,                               /kernel \S+empty: not a kernel: 0 bytes/],
    ['a kernel that is a text',                `kernel = '${at('text')}'`,                                /kernel \S+text: not a kernel: .*begins with 54 68 69 73/],
    ['a kernel without Xen notes',             `kernel = '${at('no-notes')}'`,                            /kernel \S+no-notes: .*no Xen notes: it was built without support for Xen PV/],
    ['a kernel that is cut short',             `kernel = '${at('cut')}'`,                                 /kernel \S+cut: .*cut short or damaged/],
    ['a kernel for another processor',         `kernel = '${at('arm')}'`,                                 /kernel \S+arm: .*another processor \(class 2, machine 183\); x86-64 is needed/],
    ['no kernel at all',                       `memory = 64`,                                             /wrong\.cfg: No kernel specified$/],
    ['a ramdisk that is not there',            `kernel = '${kernel}'\nramdisk = '${at('none')}'`,         /^Kernel ramdisk does not exist: \S+none \(no such file\)$/],
    ['a disk that is not there',               `kernel = '${kernel}'\ndisk = ['file:${at('none')},sda1,w']`, /^vbd: Segment not found: uname=file:\S+none \(no such file\)$/],
    ['a disk of no known kind',                `kernel = '${kernel}'\ndisk = ['tape:${disk},sda1,w']`,    /wrong\.cfg:3:1: Invalid disk specifier: tape:/],
    ['a disk that the guest cannot name',      `kernel = '${kernel}'\ndisk = ['file:${disk},tape0,w']`,   /^vbd: Device not found: tape0$/],
    ['two disks with one name',                `kernel = '${kernel}'\ndisk = ['file:${disk},sda1,r', 'file:${initrd},sda1,r']`, /^two disks would be xvda1: \S+ and \S+$/],
    ['one disk twice, once for writing',       `kernel = '${kernel}'\ndisk = ['file:${disk},sda1,w', 'file:${disk},sda2,r']`, /file:\S+disk\.img is in writable use by domain wrong \(id \d+\)$/],
    ['less memory than the kernel takes',      `kernel = '${at('big')}'\nmemory = 32`,                    /kernel \S+big: 32 MiB of memory is too little: this kernel needs at least \d+ MiB/],
    ['more memory than the machine has',       `kernel = '${kernel}'\nmemory = 100000000`,                /^not enough memory for domain "wrong": it needs \d+ MiB, \d+ MiB are free \(see xm info\)$/],
    ['less maximum than memory is no mistake', `kernel = '${at('none')}'\nmemory = 64\nmaxmem = 32`,      /none \(no such file\)$/],
    ['a name that is no name',                 `kernel = '${kernel}'\nname = 'two words'`,                /wrong\.cfg:3:1: invalid vm name: "two words"/],
    ['a misspelt value',                       `kernel = '${kernel}'\nmemory = 'much'`,                   /wrong\.cfg:3:1: .*memory must be a whole number$/],
    ['a file that is not Python',              `kernel = '${kernel}\n`,                                   /wrong\.cfg:2:10: /],
  ];
  for (const [story, config, error] of CASES) {
    test(`xm create with ${story}`, async () => {
      const file = system.file('wrong.cfg', `name = 'wrong'\n${config}\n`);
      const { code, output } = await system.xm('create', '-q', file);
      assert.match(output, /^Error: [^\n]+\n$/);
      assert.match(output.slice('Error: '.length, -1).replace(/^cannot build domain "wrong": /, ''), error);
      assert.equal(code, 1);
      assert.deepEqual(await system.traces(), NOTHING);
    });
  }

  test('xm create with a file that is not there', async () => {
    const { code, output } = await system.xm('create', at('none.cfg'));
    assert.equal(code, 1);
    assert.match(output, /^Error: [^\n]*none\.cfg[^\n]*\n$/);
  });

  for (const [story, damage] of [
    ['cut in half', (file: string) => truncateSync(file, readFileSync(file).length >> 1)],
    [
      'with a hole in it',
      (file: string) => writeFileSync(file, damaged(readFileSync(file), 2 << 20, new Uint8Array(5000))),
    ],
  ] as const) {
    test(`a real kernel ${story} is called damaged`, {
      skip: guest ? false : 'there is no real kernel here',
    }, async () => {
      const file = at(`vmlinuz ${story}`);
      copyFileSync(guest!.kernel, file);
      damage(file);
      const { code, output } = await system.xm(
        'create',
        '-q',
        system.file('wrong.cfg', `name = 'wrong'\nkernel = '${file}'\n`),
      );
      assert.equal(code, 1);
      assert.match(
        output,
        /^Error: cannot build domain "wrong": kernel \S+vmlinuz [^\n]+ (damaged|corrupt|cut short|offset)[^\n]*\n$/,
      );
      assert.deepEqual(await system.traces(), NOTHING);
    });
  }

  test('a kernel that dies at once: one line, exit code 1, and the registers in xm dmesg', async () => {
    const config = system.file('brief.cfg', `name = 'brief'\nkernel = '${kernel}'\nmemory = 32\n`);
    const person = system.person('create', '-c', '-q', config);
    assert.equal(await person.exitCode(), 1);
    assert.match(person.text, /^Error: domain \d+ "brief" crashed: [^\n]+ \(xm dmesg tells more\)\n$/);
    assert.match((await system.xm('dmesg')).output, /rip ffffffff80100000,[\s\S]*code at rip: 0f 0b 00/);
    assert.deepEqual(await system.traces(), NOTHING);
  });

  test('names and disks in use are refused; the domain that has them stays as it is', async () => {
    const config = (name: string, mode: string) =>
      system.file(
        `${name}.cfg`,
        `name = '${name}'\nkernel = '${kernel}'\nmemory = 32\ndisk = ['file:${disk},sda1,${mode}']\n`,
      );
    assert.equal((await system.xm('create', '-q', '-p', config('first', 'w'))).code, 0);
    const before = await system.traces();
    assert.equal(before.locks.length, 1);
    const again = await system.xm('create', '-q', '-p', at('first.cfg'));
    assert.deepEqual(
      [again.code, /^Error: vm name clash: first \(domain \d+ has that name\)\n$/.test(again.output)],
      [1, true],
    );
    for (const mode of ['w', 'r']) {
      const second = await system.xm('create', '-q', '-p', config('second', mode));
      assert.equal(second.code, 1);
      assert.match(second.output, /^Error: [^\n]*file:\S+disk\.img is in writable use by domain first \(id \d+\)\n$/);
    }
    assert.deepEqual(await system.traces(), before);
    assert.equal((await system.xm('create', '-q', '-p', config('second', 'w!'))).code, 0, 'who insists gets it');
    for (const name of ['first', 'second']) assert.equal((await system.xm('destroy', name)).code, 0);
    assert.deepEqual(await system.traces(), NOTHING);
  });

  test('any number of domains read one disk; then none may write it', async () => {
    const config = (name: string, mode: string) =>
      system.file(
        `${name}.cfg`,
        `name = '${name}'\nkernel = '${kernel}'\nmemory = 32\ndisk = ['file:${disk},sda1,${mode}']\n`,
      );
    for (const name of ['one', 'two']) assert.equal((await system.xm('create', '-q', '-p', config(name, 'r'))).code, 0);
    const { output } = await system.xm('create', '-q', '-p', config('three', 'w'));
    assert.match(output, /^Error: [^\n]*disk\.img is in read-only use by domain (one|two) \(id \d+\)\n$/);
    for (const name of ['one', 'two']) assert.equal((await system.xm('destroy', name)).code, 0);
    assert.deepEqual(await system.traces(), NOTHING);
  });

  test('a domain that does not exist is called so by every command', async () => {
    const commands = ['console', 'destroy', 'pause', 'unpause', 'shutdown', 'reboot', 'domid', 'domname'];
    const answers = await Promise.all(commands.map((command) => system.xm(command, 'nobody')));
    for (const { code, output } of answers) assert.deepEqual([code, output], [1, 'Error: invalid domain:nobody\n']);
  });

  test('without a xend every command says so; starting and stopping it twice does no harm', async () => {
    const started = await system.own.run('xend', ['start']);
    assert.deepEqual(started, { code: 0, output: '' });
    assert.equal((await system.own.run('xend', ['stop'])).code, 0);
    const commands = [['info'], ['dmesg'], ['destroy', 'web'], ['create', '-q', at('first.cfg')]];
    for (const { code, output } of await Promise.all(commands.map((args) => system.xm(...args)))) {
      assert.equal(code, 1);
      assert.match(
        output,
        /^Error: Error connecting to xend, is xend running\? \(.*xend\.sock; start it with: xend start\)\n$/,
      );
    }
    await system.own.run('xend', ['stop']);
    await system.own.start();
    assert.deepEqual(await system.traces(), NOTHING);
  });
});

function damaged(bytes: Uint8Array, offset: number, hole: ArrayLike<number>): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy.set(hole, offset);
  return copy;
}
