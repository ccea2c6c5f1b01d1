import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, type Insn, Kind, RIP } from './decode.ts';
import { disassemble } from './disassemble.ts';
import { PRIVILEGED } from './exits.ts';
import { ROWS } from './opcodes/index.ts';
import { FORMS, SLOTS, slotOf } from './opcodes/lookup.ts';
import { SEG } from './state.ts';

const bytes = (text: string) => Uint8Array.from(text.split(' ').map((byte) => Number.parseInt(byte, 16)));
const answer = (text: string) => decode(bytes(text), 0, bytes(text).length);

function insn(text: string): Insn {
  const result = answer(text);
  if (typeof result === 'string') assert.fail(`${text}: ${result}`);
  assert.equal(result.length, bytes(text).length, text);
  return result;
}

test('every row has its own place in the opcode tables and its number', () => {
  const reached = new Set(Array.from({ length: SLOTS }, (_, key) => slotOf(key)?.forms ?? []).flat());
  assert.deepEqual(
    FORMS.filter((form) => !reached.has(form)).map((form) => form.row),
    [],
  );
  assert.ok(ROWS.every((row, k) => row.index === k));
});

test('the rows that the hypervisor performs are the ones that exits.ts names', () => {
  const names = new Set(ROWS.filter((row) => row.flags.includes('priv')).map((row) => row.mnemonic));
  assert.deepEqual([...names].sort(), [...PRIVILEGED].sort());
});

test('instructions read as the manual writes them', () => {
  // biome-ignore format: a table
  const TABLE: [string, string][] = [
    ['48 01 d8',                      'add rax,rbx'],
    ['66 83 c0 ff',                   'add ax,0xffff'],
    ['f0 48 0f b1 0d 10 00 00 00',    'lock cmpxchg QWORD PTR [rip+0x10],rcx'],
    ['64 48 8b 04 25 28 00 00 00',    'mov rax,QWORD PTR fs:0x28'],
    ['48 b8 01 02 03 04 05 06 07 f8', 'mov rax,0xf807060504030201'],
    ['a1 01 02 03 04 05 06 07 f8',    'mov eax,DWORD PTR ds:0xf807060504030201'],
    ['4a 8d 44 a5 f8',                'lea rax,[rbp+r12*4-0x8]'],
    ['8d 04 24',                      'lea eax,[rsp]'],
    ['67 8d 04 24',                   'lea eax,[esp]'],
    ['f3 48 a5',                      'rep movs QWORD PTR [rdi],QWORD PTR [rsi]'],
    ['f2 ae',                         'repnz scas al,BYTE PTR [rdi]'],
    ['66 90',                         'nop'],
    ['49 90',                         'xchg r8,rax'],
    ['f3 90',                         'pause'],
    ['f3 0f bc c1',                   'bsf eax,ecx'],
    ['f3 0f b8 c1',                   'popcnt eax,ecx'],
    ['66 f2 0f 38 f1 c1',             'crc32 eax,cx'],
    ['f3 0f 1e fa',                   'endbr64'],
    ['0f 01 e8',                      'serialize'],
    ['48 0f c7 f0',                   'rdrand rax'],
    ['0f c7 f9',                      'rdseed ecx'],
    ['48 98',                         'cdqe'],
    ['66 6a ff',                      'pushw 0xffff'],
    ['6a ff',                         'push 0xffffffffffffffff'],
    ['88 e0',                         'mov al,ah'],
    ['40 88 e0',                      'mov al,spl'],
    ['0f 22 d8',                      'mov cr3,rax'],
    ['66 0f 6e c0',                   'movd xmm0,eax'],
    ['66 48 0f 6e c0',                'movq xmm0,rax'],
    ['66 0f 3a 16 c0 01',             'pextrd eax,xmm0,0x1'],
    ['de e9',                         'fsubp st(1),st'],
    ['d8 f2',                         'fdiv st,st(2)'],
    ['48 0f ae 00',                   'fxsave64 [rax]'],
    ['65 48 0f c7 0f',                'cmpxchg16b XMMWORD PTR gs:[rdi]'],
    ['0f 01 f8',                      'swapgs'],
    ['48 cf',                         'iretq'],
  ];
  for (const [code, text] of TABLE) assert.equal(disassemble(insn(code)), text, code);
});

test('a branch target counts from the end of the instruction', () => {
  assert.equal(disassemble(insn('e8 fb ff ff ff'), 0xffff_ffff_8100_0000n), 'call 0xffffffff81000000');
  assert.equal(disassemble(insn('eb 10')), 'jmp .+0x12');
  // 66 does not shorten a near branch.
  assert.equal(insn('66 e9 00 00 00 00').opSize, 8);
});

test('operands carry sizes, registers and addresses', () => {
  const movss = insn('f3 0f 10 05 04 00 00 00');
  assert.deepEqual([movss.operands[0]!.size, movss.operands[1]!.size, movss.operands[1]!.base], [16, 4, RIP]);
  assert.equal(insn('f3 0f 10 c1').operands[0]!.size, 4);
  const moffs = insn('67 a0 00 00 00 80').operands[1]!;
  assert.deepEqual([moffs.kind, moffs.disp, moffs.immHi, moffs.base], [Kind.Mem, -0x8000_0000, 0, -1]);
  const absolute = insn('8b 04 25 00 00 00 80').operands[1]!;
  assert.deepEqual([absolute.disp, absolute.immHi], [-0x8000_0000, -1]);
  assert.deepEqual([insn('65 ac').operands[1]!.seg, insn('65 aa').operands[0]!.seg], [SEG.gs, -1]);
  assert.deepEqual([insn('0f b6 c4').operands[1]!.high, insn('0f b6 c4').opSize], [true, 4]);
  assert.equal(insn('48 83 c0 80').operands[1]!.immHi, -1);
});

test('REX counts only directly before the opcode, and the last repeat prefix decides', () => {
  assert.equal(disassemble(insn('48 66 01 d8')), 'add ax,bx');
  assert.equal(disassemble(insn('66 48 01 d8')), 'add rax,rbx');
  assert.equal(insn('f2 f3 0f 10 c1').mnemonic, 'movss');
  assert.equal(insn('f3 66 0f 10 c1').mnemonic, 'movss');
});

test('what no row claims is #UD', () => {
  const undefined64 = [
    '06',
    '27',
    '37',
    '60',
    '62 00',
    '82 c0 01',
    '9a 00',
    'c4 e2 78 f2 c0',
    'c5 f8 77',
    'd4 0a',
    'd6',
    'ea 00',
  ];
  const forms = [
    '8d c0',
    '0f c7 c8',
    'fe d0',
    'ff f8',
    '8e c8',
    '8c f0',
    'f3 0f 28 c1',
    '0f 38 f0 00',
    '0f 01 d9',
    'd9 d1',
  ];
  for (const code of [...undefined64, ...forms]) assert.equal(answer(code), 'ud', code);
});

test('LOCK is #UD without a destination in memory', () => {
  for (const code of ['f0 01 d8', 'f0 03 00', 'f0 39 00', 'f0 8b 00', 'f0 90', 'f0 0f a3 00']) {
    assert.equal(answer(code), 'ud', code);
  }
  assert.equal(insn('f0 01 18').lock, true);
});

test('an instruction that ends behind the limit asks for more, unless it is too long anyway', () => {
  const code = bytes('f0 48 81 84 24 10 00 00 00 78 56 34 12');
  for (let limit = 0; limit < code.length; limit++) assert.equal(decode(code, 0, limit), 'more', `${limit} bytes`);
  assert.equal((decode(code, 0, code.length) as Insn).length, code.length);
  const long = Uint8Array.from({ length: 20 }, (_, k) => (k < 14 ? 0x66 : 0x90));
  assert.equal((decode(long, 0, 20) as Insn).length, 15);
  long[14] = 0x66;
  assert.equal(decode(long, 0, 20), 'long');
  assert.equal(decode(long, 0, 14), 'more');
});
