import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Errno } from '../abi/errno.ts';
import { DOMID, EVTCHNOP, EVTCHNSTAT, VIRQ } from '../abi/numbers.ts';
import { SHARED_INFO_ARRAYS, VcpuInfo } from '../abi/shared-info.ts';
import { eventChannelOp } from './event-channel-op.ts';
import { NOWHERE, newGuest, SCRATCH, type TestGuest, words } from './guest-for-tests.ts';
import { SPECIAL } from './memory.ts';

const SELF = DOMID.self;

function op(guest: TestGuest, command: number, ...values: number[]): number | bigint {
  return guest.call(eventChannelOp, command, guest.put(words(...values)));
}

function sharedInfo(guest: TestGuest): number {
  return guest.memory.at(guest.memory.layout.pages + SPECIAL.sharedInfo);
}

function mask(guest: TestGuest, port: number, on: boolean): void {
  const at = sharedInfo(guest) + SHARED_INFO_ARRAYS.evtchn_mask + (port >> 3);
  const bit = 1 << (port & 7);
  guest.memory.u8[at] = on ? guest.memory.u8[at]! | bit : guest.memory.u8[at]! & ~bit;
}

const info = (guest: TestGuest, vcpu = 0) => {
  const at = guest.events.infoAddress(vcpu);
  return {
    pending: VcpuInfo.evtchn_upcall_pending.get(guest.memory.view, at),
    selector: VcpuInfo.evtchn_pending_sel.get(guest.memory.view, at),
  };
};

test('the lowest free port is handed out first, after the two that the builder made', () => {
  const guest = newGuest();
  const alloc = () => {
    assert.equal(op(guest, EVTCHNOP.alloc_unbound, SELF, 0), 0);
    return guest.view.getUint32(4, true);
  };
  assert.deepEqual([alloc(), alloc(), alloc()], [3, 4, 5]);
  assert.equal(op(guest, EVTCHNOP.close, 4), 0);
  assert.equal(alloc(), 4);
});

test('an event sets pending, selector and upcall bits and kicks; a second one before the guest looked does not kick', () => {
  const guest = newGuest();
  guest.kicked();
  guest.events.setPending(200);
  assert.equal(guest.events.isPending(200), true);
  assert.deepEqual(info(guest), { pending: 1, selector: 1n << 3n });
  assert.equal(guest.kicked(), true);
  guest.events.setPending(200);
  assert.equal(guest.kicked(), false);
  guest.events.setPending(4095);
  assert.deepEqual(info(guest), { pending: 1, selector: (1n << 3n) | (1n << 63n) });
  assert.equal(guest.events.deliverable(0), false);
  guest.events.setUpcallMask(0, false);
  assert.equal(guest.events.deliverable(0), true);
});

test('a masked event is only pending, until unmask delivers it', () => {
  const guest = newGuest();
  mask(guest, 9, true);
  guest.kicked();
  guest.events.setPending(9);
  assert.equal(guest.events.isPending(9), true);
  assert.deepEqual(info(guest), { pending: 0, selector: 0n });
  assert.equal(guest.kicked(), false);
  assert.equal(op(guest, EVTCHNOP.unmask, 9), 0);
  assert.deepEqual(info(guest), { pending: 1, selector: 1n });
  assert.equal(guest.kicked(), true);
});

test('unmasking a port that was not masked delivers nothing', () => {
  const guest = newGuest();
  mask(guest, 9, true);
  guest.events.setPending(9);
  mask(guest, 9, false);
  assert.equal(op(guest, EVTCHNOP.unmask, 9), 0);
  assert.deepEqual(info(guest), { pending: 0, selector: 0n });
});

test('a polling vCPU is kicked by an event although it is masked', () => {
  const guest = newGuest();
  mask(guest, 9, true);
  guest.events.setPolling(0, true);
  guest.kicked();
  guest.events.setPending(9);
  assert.equal(guest.kicked(), true);
});

test('sending on a port of domain 0 wakes the device thread once until it looks', () => {
  const guest = newGuest();
  assert.equal(op(guest, EVTCHNOP.send, 2), 0);
  assert.equal(op(guest, EVTCHNOP.send, 2), 0);
  assert.equal(op(guest, EVTCHNOP.send, 1), 0);
  assert.equal(guest.wakes.count, 2);
  assert.deepEqual(guest.events.takePendingForBackend(), [1, 2]);
  assert.deepEqual(guest.events.takePendingForBackend(), []);
  op(guest, EVTCHNOP.send, 2);
  assert.equal(guest.wakes.count, 3);
});

test('a backend binds to the port that a frontend left for domain 0, and hears at once that it may have work', () => {
  const guest = newGuest();
  op(guest, EVTCHNOP.alloc_unbound, SELF, 0);
  const port = guest.view.getUint32(4, true);
  assert.equal(op(guest, EVTCHNOP.send, port), 0);
  assert.deepEqual(guest.events.takePendingForBackend(), []);
  assert.equal(guest.events.notifyGuest(port), false);
  assert.equal(guest.events.bindBackend(port), true);
  assert.equal(guest.events.bindBackend(port), false);
  assert.deepEqual(guest.events.takePendingForBackend(), [port]);
  assert.equal(guest.events.notifyGuest(port), true);
  assert.equal(guest.events.isPending(port), true);
  guest.events.unbindBackend(port);
  assert.equal(guest.events.status(port)?.status, EVTCHNSTAT.unbound);
  assert.equal(guest.events.bindBackend(port), true);
  op(guest, EVTCHNOP.close, port);
  assert.equal(guest.events.notifyGuest(port), false);
  assert.equal(guest.events.isPending(port), false);
});

test('a port left for another domain is not for domain 0', () => {
  const guest = newGuest();
  op(guest, EVTCHNOP.alloc_unbound, SELF | (7 << 16), 0);
  assert.equal(guest.events.bindBackend(guest.view.getUint32(4, true)), false);
});

test('a domain can bind to itself: the new port is pending once, sends reach the peer, closing leaves the peer unbound', () => {
  const guest = newGuest();
  op(guest, EVTCHNOP.alloc_unbound, SELF | (SELF << 16), 0);
  const far = guest.view.getUint32(4, true);
  assert.equal(op(guest, EVTCHNOP.bind_interdomain, SELF, far, 0), 0);
  const near = guest.view.getUint32(8, true);
  assert.equal(guest.events.isPending(near), true);
  assert.equal(guest.events.isPending(far), false);
  op(guest, EVTCHNOP.send, near);
  assert.equal(guest.events.isPending(far), true);
  assert.equal(op(guest, EVTCHNOP.status, SELF, near, 0, 0, 0, 0), 0);
  assert.deepEqual(
    [8, 16, 20].map((at) => guest.view.getUint32(at, true)),
    [EVTCHNSTAT.interdomain, 5, far],
  );
  op(guest, EVTCHNOP.close, near);
  assert.equal(guest.events.status(far)?.status, EVTCHNSTAT.unbound);
  assert.equal(op(guest, EVTCHNOP.send, far), 0);
  assert.equal(op(guest, EVTCHNOP.bind_interdomain, SELF, 1, 0), -Errno.EINVAL);
  assert.equal(op(guest, EVTCHNOP.bind_interdomain, 9, 1, 0), -Errno.ESRCH);
});

test('virtual interrupts: bound once, per vCPU or on vCPU 0, and gone after close', () => {
  const guest = newGuest({ vcpus: 2 });
  const bind = (virq: number, vcpu: number) => op(guest, EVTCHNOP.bind_virq, virq, vcpu, 0);
  assert.equal(guest.events.raiseVirq(0, VIRQ.TIMER), false);
  assert.equal(bind(VIRQ.TIMER, 0), 0);
  const port = guest.view.getUint32(8, true);
  assert.equal(bind(VIRQ.TIMER, 0), -Errno.EEXIST);
  assert.equal(bind(VIRQ.TIMER, 1), 0);
  const other = guest.view.getUint32(8, true);
  assert.equal(bind(VIRQ.TIMER, 2), -Errno.ENOENT);
  assert.equal(bind(VIRQ.CONSOLE, 1), -Errno.EINVAL);
  assert.equal(bind(24, 0), -Errno.EINVAL);
  assert.equal(guest.events.raiseVirq(1, VIRQ.TIMER), true);
  assert.deepEqual([guest.events.isPending(port), guest.events.isPending(other)], [false, true]);
  assert.deepEqual([info(guest, 0).pending, info(guest, 1).pending], [0, 1]);
  assert.equal(op(guest, EVTCHNOP.send, port), -Errno.EINVAL);
  assert.equal(op(guest, EVTCHNOP.bind_vcpu, port, 1), -Errno.EINVAL);
  op(guest, EVTCHNOP.close, port);
  assert.equal(guest.events.raiseVirq(0, VIRQ.TIMER), false);
  assert.equal(bind(VIRQ.TIMER, 0), 0);
});

test('an interprocessor port reaches its vCPU, and bind_vcpu moves only ports that may move', () => {
  const guest = newGuest({ vcpus: 2 });
  assert.equal(op(guest, EVTCHNOP.bind_ipi, 1, 0), 0);
  const ipi = guest.view.getUint32(4, true);
  guest.kicked(1);
  assert.equal(op(guest, EVTCHNOP.send, ipi), 0);
  assert.equal(guest.kicked(1), true);
  assert.equal(op(guest, EVTCHNOP.bind_vcpu, ipi, 0), -Errno.EINVAL);
  assert.equal(op(guest, EVTCHNOP.bind_vcpu, 1, 1), 0);
  assert.equal(guest.events.status(1)?.vcpu, 1);
  assert.equal(op(guest, EVTCHNOP.bind_vcpu, 1, 2), -Errno.ENOENT);
});

test('no port number, domid or pointer does harm', () => {
  const guest = newGuest();
  for (const port of [0, 77, 4095, 4096, 0x7fffffff, 0xffffffff]) {
    assert.equal(op(guest, EVTCHNOP.close, port), -Errno.EINVAL);
    assert.equal(op(guest, EVTCHNOP.send, port), -Errno.EINVAL);
    assert.equal(op(guest, EVTCHNOP.bind_vcpu, port, 0), -Errno.EINVAL);
    assert.equal(op(guest, EVTCHNOP.bind_interdomain, SELF, port, 0), -Errno.EINVAL);
    assert.equal(guest.events.bindBackend(port), false);
    assert.equal(guest.events.notifyGuest(port), false);
  }
  assert.equal(op(guest, EVTCHNOP.unmask, 4096), -Errno.EINVAL);
  assert.equal(op(guest, EVTCHNOP.status, SELF, 4096, 0, 0, 0, 0), -Errno.EINVAL);
  assert.equal(op(guest, EVTCHNOP.status, 0, 1, 0, 0, 0, 0), -Errno.EPERM);
  assert.equal(op(guest, EVTCHNOP.alloc_unbound, 9, 0), -Errno.ESRCH);
  assert.equal(op(guest, EVTCHNOP.bind_ipi, 0xffffffff, 0), -Errno.ENOENT);
  assert.equal(guest.call(eventChannelOp, EVTCHNOP.send, NOWHERE), -Errno.EFAULT);
  assert.equal(guest.call(eventChannelOp, EVTCHNOP.init_control, SCRATCH), -Errno.ENOSYS);
  assert.equal(guest.call(eventChannelOp, 0xffffffff, SCRATCH), -Errno.ENOSYS);
});

test('a full table gives -ENOSPC, and reset empties it', () => {
  const guest = newGuest();
  let made = 0;
  while (guest.events.allocUnbound(0) > 0) made++;
  assert.equal(made, 4093);
  assert.equal(op(guest, EVTCHNOP.alloc_unbound, SELF, 0), -Errno.ENOSPC);
  assert.equal(op(guest, EVTCHNOP.reset, SELF), 0);
  assert.equal(guest.events.allocUnbound(0), 1);
});

test('two threads allocate from one table without giving a port twice', async () => {
  const guest = newGuest();
  const code = `
    const { workerData, parentPort } = require('node:worker_threads');
    Promise.all([import(workerData.events), import(workerData.memory)]).then(([e, m]) => {
      const memory = new m.GuestMemory(workerData.buffer, workerData.layout);
      const events = new e.EventChannels(memory, 5);
      parentPort.postMessage('ready');
      parentPort.once('message', () => {
        const ports = [];
        for (let i = 0; i < 1000; i++) ports.push(events.allocUnbound(0));
        parentPort.postMessage(ports);
      });
    });`;
  const worker = new Worker(code, {
    eval: true,
    workerData: {
      events: new URL('./event-channels.ts', import.meta.url).href,
      memory: new URL('./memory.ts', import.meta.url).href,
      buffer: guest.memory.buffer,
      layout: guest.memory.layout,
    },
  });
  await once(worker, 'message');
  const theirs = once(worker, 'message');
  worker.postMessage('go');
  const mine: number[] = [];
  for (let i = 0; i < 1000; i++) mine.push(guest.events.allocUnbound(0));
  const [ports] = (await theirs) as [number[]];
  const all = new Set([...mine, ...ports]);
  assert.equal(all.size, 2000);
  assert.equal(Math.max(...all), 2002);
  await worker.terminate();
});
