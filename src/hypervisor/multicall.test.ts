import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Errno } from '../abi/errno.ts';
import { GPR, RFLAGS } from '../x86/state.ts';
import { runVcpu } from './run.ts';
import {
  enterUser,
  FRAME,
  hypercallStep,
  installGdt,
  pokeWords,
  testDomain,
  USER_CODE,
  USER_STACK,
  va,
  words,
} from './vcpu-for-tests.ts';

const MULTICALL = 13;
const call = (op: number, ...args: (bigint | number)[]) => [op, 0xbad, ...args, ...new Array(6 - args.length).fill(0)];
const resultOf = (all: bigint[], i: number) => BigInt.asIntN(64, all[8 * i + 1]!);

test('a multicall stores each result and goes on after errors', () => {
  const { vcpu, engine } = testDomain();
  pokeWords(vcpu, va(FRAME.scratch), [...call(17, 7), ...call(99), ...call(5, 1)]);
  engine.script.push(hypercallStep(MULTICALL, va(FRAME.scratch), 3));
  runVcpu(vcpu);
  const all = words(vcpu, va(FRAME.scratch), 24);
  assert.equal(resultOf(all, 0), 4096n);
  assert.equal(resultOf(all, 1), BigInt(-Errno.ENOSYS));
  assert.equal(resultOf(all, 2), 0n);
  assert.equal(vcpu.reg64(GPR.rax), 0n);
});

test('iret ends a multicall: no result is stored and no later entry runs (XSA-213)', () => {
  const { vcpu, engine } = testDomain();
  installGdt(vcpu);
  enterUser(vcpu);
  vcpu.setKernelMode(true);
  const rsp = va(FRAME.stack, 0x800);
  pokeWords(vcpu, rsp, [0x99, 0, 0, 0, USER_CODE, 0x33, RFLAGS.IF, USER_STACK, 0x2b]);
  vcpu.setReg64(GPR.rsp, rsp);
  pokeWords(vcpu, va(FRAME.scratch), [...call(23), ...call(17, 7)]);
  engine.script.push(hypercallStep(MULTICALL, va(FRAME.scratch), 2));
  runVcpu(vcpu);
  const all = words(vcpu, va(FRAME.scratch), 16);
  assert.equal(resultOf(all, 0), 0xbadn);
  assert.equal(resultOf(all, 1), 0xbadn);
  assert.equal(vcpu.kernelMode, false);
  assert.equal(vcpu.rip, USER_CODE);
  assert.equal(vcpu.reg64(GPR.rax), 0x99n);
});

test('a multicall in a multicall is refused, and the next one works', () => {
  const { vcpu, engine } = testDomain();
  pokeWords(vcpu, va(FRAME.scratch), [...call(MULTICALL, va(FRAME.scratch), 1), ...call(17, 7)]);
  engine.script.push(hypercallStep(MULTICALL, va(FRAME.scratch), 2));
  runVcpu(vcpu);
  const all = words(vcpu, va(FRAME.scratch), 16);
  assert.equal(resultOf(all, 0), BigInt(-Errno.ENOSYS));
  assert.equal(resultOf(all, 1), 4096n);
  assert.equal(vcpu.inMulticall, false);
});

test('a multicall that runs off mapped memory is -EFAULT after what it could do', () => {
  const { vcpu, engine } = testDomain();
  pokeWords(vcpu, va(511, 4032), call(17, 7));
  engine.script.push(hypercallStep(MULTICALL, va(511, 4032), 0xffff_ffffn));
  runVcpu(vcpu);
  assert.equal(BigInt.asIntN(64, vcpu.reg64(GPR.rax)), BigInt(-Errno.EFAULT));
  assert.equal(resultOf(words(vcpu, va(511, 4032), 8), 0), 4096n);
});

test('entries that are not aligned, and one whose result is in the next page, are as any other', () => {
  for (const offset of [1, 4, 4096 - 8, 4096 - 12, 4096 - 60]) {
    const { vcpu, engine } = testDomain();
    pokeWords(vcpu, va(FRAME.scratch, offset), [...call(17, 7), ...call(99)]);
    engine.script.push(hypercallStep(MULTICALL, va(FRAME.scratch, offset), 2));
    runVcpu(vcpu);
    const all = words(vcpu, va(FRAME.scratch, offset), 16);
    assert.deepEqual([resultOf(all, 0), resultOf(all, 1)], [4096n, BigInt(-Errno.ENOSYS)], `offset ${offset}`);
  }
});

test('an entry that takes away its own page gets no result, and the multicall ends with -EFAULT', () => {
  const { vcpu, engine } = testDomain();
  const UPDATE_VA_MAPPING = 14;
  pokeWords(vcpu, va(FRAME.scratch), [...call(UPDATE_VA_MAPPING, va(FRAME.scratch), 0, 0), ...call(17, 7)]);
  engine.script.push(hypercallStep(MULTICALL, va(FRAME.scratch), 2));
  runVcpu(vcpu);
  assert.equal(BigInt.asIntN(64, vcpu.reg64(GPR.rax)), BigInt(-Errno.EFAULT));
  assert.equal(vcpu.memory.view.getBigUint64(vcpu.memory.at(FRAME.scratch) + 8, true), 0xbadn);
});
