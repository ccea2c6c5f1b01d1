import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Errno } from '../abi/errno.ts';
import { RUNSTATE } from '../abi/numbers.ts';
import { Exit } from '../x86/exits.ts';
import { GPR, RFLAGS, STATE } from '../x86/state.ts';
import { CONTROL_VCPU, controlVcpu, VcpuCommand } from './control.ts';
import { runVcpu } from './run.ts';
import {
  enterUser,
  FRAME,
  HANDLER,
  handlerOf,
  hypercallStep,
  installHandlers,
  pokeWords,
  testDomain,
  USER_CODE,
  va,
  words,
} from './vcpu-for-tests.ts';

const SCHED_OP = 29;

test('a hypercall’s result is in rax, rcx is the return address and r11 the flags', () => {
  const { vcpu, engine } = testDomain();
  engine.script.push(hypercallStep(17, 7));
  assert.deepEqual(runVcpu(vcpu), { kind: 'shutdown', reason: 0 });
  assert.equal(vcpu.reg64(GPR.rax), 4096n);
  assert.equal(vcpu.reg64(GPR.rcx), va(FRAME.text) + 2n);
  assert.equal(vcpu.rip, va(FRAME.text) + 2n);
  assert.equal(vcpu.reg64(GPR.r11), BigInt(RFLAGS.IF | RFLAGS.fixed));
});

test('an unknown hypercall is -ENOSYS and one line in the log', () => {
  const { vcpu, engine, log } = testDomain();
  engine.script.push(hypercallStep(99), hypercallStep(99), hypercallStep(0x1_0000_0011));
  runVcpu(vcpu);
  assert.equal(BigInt.asIntN(64, vcpu.reg64(GPR.rax)), BigInt(-Errno.ENOSYS));
  assert.equal(log.filter((line) => /hypercall 99/.test(line)).length, 1);
});

test('an event is delivered at the return to the guest when it is unmasked, and not while it is masked', () => {
  const { vcpu, engine, domain } = testDomain();
  vcpu.callbacks.event.set(HANDLER, true);
  const port = domain.events.allocForBackend();
  const seen: bigint[] = [];
  engine.script.push((v) => {
    seen.push(v.rip);
    domain.events.notifyGuest(port);
    return Exit.Kick;
  });
  engine.script.push((v) => {
    seen.push(v.rip);
    v.upcallMask = 0;
    return Exit.Slice;
  });
  engine.script.push((v) => {
    seen.push(v.rip);
    return Exit.Slice;
  });
  runVcpu(vcpu);
  assert.deepEqual(seen, [va(FRAME.text), va(FRAME.text), HANDLER]);
  assert.equal(vcpu.upcallMask, 1);
  const frame = words(vcpu, vcpu.reg64(GPR.rsp), 5);
  assert.equal(frame[3], 0xe030n, 'the mask was clear before');
  assert.equal(BigInt(RFLAGS.IF) & frame[4]!, BigInt(RFLAGS.IF));
});

test('an event interrupts user mode and comes before anything else runs', () => {
  const { vcpu, engine, domain } = testDomain();
  vcpu.callbacks.event.set(HANDLER, true);
  enterUser(vcpu);
  vcpu.upcallMask = 0;
  domain.events.notifyGuest(domain.events.allocForBackend());
  let seen = 0n;
  engine.script.push((v) => {
    seen = v.rip;
    return Exit.Slice;
  });
  runVcpu(vcpu);
  assert.equal(seen, HANDLER);
  assert.equal(words(vcpu, vcpu.reg64(GPR.rsp), 3)[2], USER_CODE);
});

test('an upcall without a callback crashes the domain', () => {
  const { vcpu, domain } = testDomain();
  vcpu.upcallMask = 0;
  domain.events.notifyGuest(domain.events.allocForBackend());
  const result = runVcpu(vcpu);
  assert.equal(result.kind, 'crashed');
  assert.match(result.kind === 'crashed' ? result.report[0]! : '', /the event callback/);
});

test('a blocked vCPU waits for its timer, and goes on with result 0 when the timer fires', () => {
  const { vcpu, engine, domain, time } = testDomain();
  vcpu.callbacks.event.set(HANDLER, true);
  domain.events.bindVirq(0, 0);
  engine.script.push(hypercallStep(15, 5_000_000n), hypercallStep(SCHED_OP, 1, 0));
  assert.deepEqual(runVcpu(vcpu), { kind: 'blocked', deadline: 5_000_000 });
  assert.deepEqual(runVcpu(vcpu), { kind: 'blocked', deadline: 5_000_000 }, 'a wake-up too early changes nothing');
  time.now = 5_000_000;
  let rip = 0n;
  engine.script.push((v) => {
    rip = v.rip;
    return Exit.Slice;
  });
  assert.equal(runVcpu(vcpu).kind, 'shutdown');
  assert.equal(rip, HANDLER);
  assert.equal(vcpu.reg64(GPR.rax), 0n);
});

test('a poll ends when its port is pending although events are masked, without an upcall', () => {
  const { vcpu, engine, domain, memory } = testDomain();
  vcpu.callbacks.event.set(HANDLER, true);
  const port = domain.events.allocForBackend();
  memory.u8.fill(0xff, memory.at(512) + 0xa00, memory.at(512) + 0xc00); // All ports masked.
  pokeWords(vcpu, va(FRAME.data), [va(FRAME.data, 64), 1, 0]);
  pokeWords(vcpu, va(FRAME.data, 64), [port]);
  engine.script.push(hypercallStep(SCHED_OP, 3, va(FRAME.data)));
  assert.deepEqual(runVcpu(vcpu), { kind: 'blocked', deadline: Number.POSITIVE_INFINITY });
  domain.events.notifyGuest(port);
  let rip = 0n;
  engine.script.push((v) => {
    rip = v.rip;
    return Exit.Slice;
  });
  runVcpu(vcpu);
  assert.equal(rip, va(FRAME.text) + 2n);
});

test('the kick is cleared before pending work is looked at', () => {
  const { vcpu, engine } = testDomain();
  vcpu.setU32(STATE.kick, 1);
  let kick = 9;
  engine.script.push((v) => {
    kick = v.u32(STATE.kick);
    return Exit.Slice;
  });
  runVcpu(vcpu);
  assert.equal(kick, 0);
});

test('a guest that only makes hypercalls does not keep the clock from being looked at', () => {
  const { vcpu, engine, domain, time } = testDomain();
  vcpu.callbacks.event.set(HANDLER, true);
  vcpu.upcallMask = 0;
  domain.events.bindVirq(0, 0);
  vcpu.timers.setSingleshot(100, 0);
  let entered = false;
  for (let i = 0; i < 1000; i++) {
    engine.script.push((v) => {
      entered ||= v.rip === HANDLER;
      time.now += 10;
      return hypercallStep(17, 7)(v);
    });
  }
  runVcpu(vcpu);
  assert.equal(entered, true);
});

test('pausing returns to the caller and resuming goes on where it was', () => {
  const { vcpu, engine, memory } = testDomain();
  const command = controlVcpu(0, CONTROL_VCPU.command) >>> 2;
  engine.script.push(() => {
    memory.i32[command] = VcpuCommand.pause;
    return Exit.Kick;
  });
  assert.deepEqual(runVcpu(vcpu), { kind: 'paused' });
  memory.i32[command] = VcpuCommand.run;
  engine.script.push(hypercallStep(17, 7));
  assert.equal(runVcpu(vcpu).kind, 'shutdown');
  assert.equal(vcpu.reg64(GPR.rax), 4096n);
});

test('at runUntil the loop returns although there is more to run, and later goes on where it was', () => {
  const { vcpu, engine, time } = testDomain();
  vcpu.runUntil = 1000;
  engine.script.push((v) => {
    time.now = 1000;
    return hypercallStep(17, 7)(v);
  });
  engine.script.push(() => Exit.Slice);
  assert.deepEqual(runVcpu(vcpu), { kind: 'preempted' });
  assert.equal(vcpu.runstate.state, RUNSTATE.runnable);
  assert.deepEqual(runVcpu(vcpu), { kind: 'preempted' }, 'not before it may');
  vcpu.runUntil = Number.POSITIVE_INFINITY;
  assert.equal(runVcpu(vcpu).kind, 'shutdown');
});

test('an NMI comes before an event, blocks further ones until iret, and is dropped without a handler', () => {
  const { vcpu, engine, domain } = testDomain();
  vcpu.callbacks.event.set(HANDLER, true);
  vcpu.upcallMask = 0;
  domain.events.notifyGuest(domain.events.allocForBackend());
  vcpu.nmiPending = true;
  installHandlers(vcpu);
  const seen: bigint[] = [];
  engine.script.push((v) => {
    seen.push(v.rip);
    v.nmiPending = true;
    return Exit.Slice;
  });
  engine.script.push((v) => {
    seen.push(v.rip);
    return Exit.Slice;
  });
  runVcpu(vcpu);
  assert.deepEqual(seen, [handlerOf(2), handlerOf(2)]);
  assert.equal(vcpu.nmiPending, true);
});

test('the guest’s own shutdown ends the run with its reason', () => {
  const { vcpu, engine } = testDomain();
  pokeWords(vcpu, va(FRAME.data), [1]);
  engine.script.push(hypercallStep(SCHED_OP, 2, va(FRAME.data)));
  assert.deepEqual(runVcpu(vcpu), { kind: 'shutdown', reason: 1 });
});
