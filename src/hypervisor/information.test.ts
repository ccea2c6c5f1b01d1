/** xen_version, physdev_op, console_io, and no hypercall of any kind that a guest could use to hurt the monitor. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Errno } from '../abi/errno.ts';
import { CONSOLEIO, PHYSDEVOP, VMASST, XENVER } from '../abi/numbers.ts';
import { consoleIo } from './console-io.ts';
import { eventChannelOp } from './event-channel-op.ts';
import { grantTableOp } from './grant-table-op.ts';
import { NOWHERE, newGuest, SCRATCH, VIRT_BASE, words } from './guest-for-tests.ts';
import { memoryOp } from './memory-op.ts';
import { physdevOp } from './physdev.ts';
import { schedOp } from './sched.ts';
import { setTimerOp } from './time.ts';
import { vcpuOp } from './vcpu-op.ts';
import { xenVersion } from './version.ts';

test('Linux finds the features that it panics without, and the wide page directory after vm_assist', () => {
  const guest = newGuest();
  const features = (submap: number) => {
    const result = guest.call(xenVersion, XENVER.get_features, guest.put(words(submap, 0)));
    return result === 0 ? guest.view.getUint32(4, true) : result;
  };
  assert.equal(features(0), 0x220e0);
  assert.equal(features(1), -Errno.EINVAL);
  guest.domain.vmAssist = 1 << VMASST.pae_extended_cr3;
  assert.equal(features(0), 0x220f0);
});

test('every text of xen_version goes out padded with zeros to its full size (xsa-122)', () => {
  const guest = newGuest();
  const sizes = { extraversion: 16, compile_info: 144, capabilities: 1024, changeset: 64, commandline: 1024 } as const;
  for (const [name, size] of Object.entries(sizes) as [keyof typeof sizes, number][]) {
    guest.put(new Uint8Array(1100).fill(0xee));
    assert.equal(guest.call(xenVersion, XENVER[name], SCRATCH), 0);
    const bytes = guest.memory.u8.slice(guest.view.byteOffset, guest.view.byteOffset + 1100);
    assert.equal(bytes[size - 1], 0, name);
    assert.equal(bytes.includes(0xee) && bytes.indexOf(0xee), size, name);
  }
});

test('version, page size, platform parameters and the uuid', () => {
  const guest = newGuest();
  assert.equal(guest.call(xenVersion, XENVER.version, 0), 0x40011);
  assert.equal(guest.call(xenVersion, XENVER.pagesize, 0), 4096);
  assert.equal(guest.call(xenVersion, XENVER.pagesize, 1), -Errno.EINVAL);
  assert.equal(guest.call(xenVersion, XENVER.platform_parameters, SCRATCH), 0);
  assert.equal(guest.view.getBigUint64(0, true), 0xffff800000000000n);
  assert.equal(guest.call(xenVersion, XENVER.guest_handle, SCRATCH), 0);
  assert.deepEqual([guest.view.getUint8(0), guest.view.getUint8(15)], [0, 15]);
  assert.equal(guest.call(xenVersion, XENVER.build_id, 0), -Errno.ENODATA);
  assert.equal(guest.call(xenVersion, 11, SCRATCH), -Errno.ENOSYS);
  assert.equal(guest.call(xenVersion, XENVER.capabilities, NOWHERE), -Errno.EFAULT);
});

test('set_iopl keeps levels 0 to 3, and there is no interrupt hardware', () => {
  const guest = newGuest();
  assert.equal(guest.call(physdevOp, PHYSDEVOP.set_iopl, guest.put(words(1))), 0);
  assert.equal(guest.vcpu.viopl, 1);
  assert.equal(guest.call(physdevOp, PHYSDEVOP.set_iopl, guest.put(words(4))), -Errno.EINVAL);
  assert.equal(guest.vcpu.viopl, 1);
  assert.equal(guest.call(physdevOp, PHYSDEVOP.pirq_eoi_gmfn_v2, SCRATCH), -Errno.EINVAL);
  assert.equal(guest.call(physdevOp, 13, SCRATCH), -Errno.ENOSYS);
});

test('console_io hands over what the guest writes, and gives nothing to read', () => {
  const guest = newGuest();
  const text = Uint8Array.from('hello\n', (char) => char.charCodeAt(0));
  assert.equal(guest.call(consoleIo, CONSOLEIO.write, text.length, guest.put(text)), 0);
  assert.deepEqual(guest.console, [...text]);
  assert.equal(guest.call(consoleIo, CONSOLEIO.write, 5, NOWHERE), -Errno.EFAULT);
  assert.equal(guest.call(consoleIo, CONSOLEIO.read, 100, SCRATCH), 0);
  assert.equal(guest.call(consoleIo, 7, 0, 0), -Errno.ENOSYS);
});

test('hypercalls with random arguments and random structures never throw, and never touch memory outside the guest', () => {
  let seed = 20041;
  const random = (n: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * n);
  };
  const interesting = [
    0, 1, 2, 5, 8, 0x20, 0x7ff, 0x800, 0x7ff0, 4095, 4096, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
  ];
  const value = () => (random(3) ? interesting[random(interesting.length)]! : random(2 ** 32));
  const handlers = [
    consoleIo,
    eventChannelOp,
    grantTableOp,
    memoryOp,
    physdevOp,
    schedOp,
    setTimerOp,
    vcpuOp,
    xenVersion,
  ] as const;
  const pointer = () =>
    [SCRATCH, SCRATCH + 0x100n, SCRATCH + 0xff8n, VIRT_BASE, NOWHERE, 0n, (1n << 64n) - 4n, 0xffff800000000000n][
      random(8)
    ]!;
  for (let round = 0; round < 40; round++) {
    const guest = newGuest({ vcpus: 2, pages: 0x700, maxPages: 0x800 });
    const guard = guest.memory.vcpuBase(1) + 0x400;
    guest.memory.u8.fill(0x5a, guard, guard + 0x1000);
    for (let i = 0; i < 300; i++) {
      const handler = handlers[random(handlers.length)]!;
      const bytes = words(...Array.from({ length: 64 }, value));
      guest.put(bytes);
      for (let p = 0; p < 4; p++) guest.view.setBigUint64(8 * random(32), pointer(), true);
      const args = [random(30), random(2) ? pointer() : random(3), random(3) ? pointer() : random(3), value()];
      const result = guest.call(handler, ...args);
      assert.ok(typeof result === 'bigint' || Number.isInteger(result), `seed 20041, round ${round}, call ${i}`);
    }
    assert.ok(
      guest.memory.u8.subarray(guard, guard + 0x1000).every((byte) => byte === 0x5a),
      `round ${round}`,
    );
  }
});
