/**
 * Event channels with the 2-level ABI: who is bound to which port, setting events pending and waking vCPUs. The table is in
 * the CONTROL region and the pending, mask and selector bits are in the guest's own pages, so an object of this class in any
 * thread does the same. Ports whose peer is domain 0 lead to the device thread. Delivery to the guest's callback is the run
 * loop's. The hypercall is in event-channel-op.ts. Follows pv-abi 2.15 and 6.
 */
import { Errno } from '../abi/errno.ts';
import { DOMID, EVTCHN_PORTS, EVTCHNSTAT, NR_VIRQS, VIRQ_PER_VCPU } from '../abi/numbers.ts';
import { SHARED_INFO_ARRAYS, VcpuInfo } from '../abi/shared-info.ts';
import { STATE } from '../x86/state.ts';
import { CONTROL, CONTROL_VCPU, controlVcpu, Lock } from './control.ts';
import { type GuestMemory, SPECIAL } from './memory.ts';
import type { WakeBackend } from './ports.ts';

/** Words of a port's record. `peer` is a domid, or the number of a virq. */
const PORT = { status: 0, vcpu: 1, peer: 2, peerPort: 3, words: 4 } as const;

export interface PortStatus {
  status: number;
  vcpu: number;
  peer: number;
  peerPort: number;
}

export class EventChannels {
  private readonly memory: GuestMemory;
  private readonly i32: Int32Array;
  private readonly domid: number;
  private readonly lock: Lock;
  private readonly wakeBackend: WakeBackend;
  private readonly sharedInfo: number;

  constructor(memory: GuestMemory, domid: number, wakeBackend: WakeBackend = () => {}) {
    this.memory = memory;
    this.i32 = memory.i32;
    this.domid = domid;
    this.wakeBackend = wakeBackend;
    this.lock = new Lock(memory, CONTROL.eventLock);
    this.sharedInfo = memory.at(memory.layout.pages + SPECIAL.sharedInfo);
    // A vCPU's information is in shared_info until it registers a place; the first thread to come writes that down.
    for (let id = 0; id < memory.layout.vcpus; id++) {
      const address = this.sharedInfo + SHARED_INFO_ARRAYS.vcpu_info + (id & 31) * VcpuInfo.size;
      Atomics.compareExchange(this.i32, controlVcpu(id, CONTROL_VCPU.infoAddress) >>> 2, 0, address | 0);
    }
  }

  // --- vCPU information -----------------------------------------------------------------------------------------------

  /** Linear-memory address of the vcpu_info in use. */
  infoAddress(vcpu: number): number {
    return Atomics.load(this.i32, controlVcpu(vcpu, CONTROL_VCPU.infoAddress) >>> 2) >>> 0;
  }

  /** Is the vCPU's information still in shared_info? */
  infoIsShared(vcpu: number): boolean {
    const end = this.sharedInfo + SHARED_INFO_ARRAYS.evtchn_pending;
    return this.infoAddress(vcpu) >= this.sharedInfo && this.infoAddress(vcpu) < end;
  }

  /** Move a vCPU's information to `address`, which is inside guest RAM: contents first, then whatever came meanwhile. */
  moveInfo(vcpu: number, address: number): void {
    const from = this.infoAddress(vcpu);
    this.memory.u8.copyWithin(address, from, from + VcpuInfo.size);
    Atomics.store(this.i32, controlVcpu(vcpu, CONTROL_VCPU.infoAddress) >>> 2, address | 0);
    // The device thread may have set bits at the old place after the copy: look at all of them once at the new one.
    Atomics.store(this.i32, (address + VcpuInfo.evtchn_pending_sel.offset) >>> 2, -1);
    Atomics.store(this.i32, (address + VcpuInfo.evtchn_pending_sel.offset + 4) >>> 2, -1);
    Atomics.store(this.memory.u8, address + VcpuInfo.evtchn_upcall_pending.offset, 1);
    this.kick(vcpu);
  }

  /** May an upcall be delivered to the vCPU now (pv-abi 6.4)? */
  deliverable(vcpu: number): boolean {
    const info = this.infoAddress(vcpu);
    return (
      Atomics.load(this.memory.u8, info + VcpuInfo.evtchn_upcall_pending.offset) !== 0 &&
      Atomics.load(this.memory.u8, info + VcpuInfo.evtchn_upcall_mask.offset) === 0
    );
  }

  setUpcallMask(vcpu: number, masked: boolean): void {
    Atomics.store(this.memory.u8, this.infoAddress(vcpu) + VcpuInfo.evtchn_upcall_mask.offset, masked ? 1 : 0);
  }

  /** Make the vCPU's engine return, or its sleep end. */
  kick(vcpu: number): void {
    const index = (this.memory.vcpuBase(vcpu) + STATE.kick) >>> 2;
    Atomics.store(this.i32, index, 1);
    Atomics.notify(this.i32, index);
  }

  /** Tell other threads that the vCPU waits for ports to become pending, masked or not. */
  setPolling(vcpu: number, polling: boolean): void {
    Atomics.store(this.i32, controlVcpu(vcpu, CONTROL_VCPU.polling) >>> 2, polling ? 1 : 0);
  }

  // --- Pending and mask bits ------------------------------------------------------------------------------------------

  private bitmapWord(offset: number, port: number): number {
    return ((this.sharedInfo + offset) >>> 2) + (port >>> 5);
  }

  isPending(port: number): boolean {
    const word = Atomics.load(this.i32, this.bitmapWord(SHARED_INFO_ARRAYS.evtchn_pending, port));
    return ((word >>> (port & 31)) & 1) === 1;
  }

  /** Set an event pending in the guest (pv-abi 6.2), from any thread. */
  setPending(port: number): void {
    const bit = 1 << (port & 31);
    const before = Atomics.or(this.i32, this.bitmapWord(SHARED_INFO_ARRAYS.evtchn_pending, port), bit);
    if ((before & bit) === 0) {
      const mask = Atomics.load(this.i32, this.bitmapWord(SHARED_INFO_ARRAYS.evtchn_mask, port));
      if ((mask & bit) === 0) this.select(this.word(port, PORT.vcpu), port);
    }
    for (let id = 0; id < this.memory.layout.vcpus; id++) {
      if (Atomics.load(this.i32, controlVcpu(id, CONTROL_VCPU.polling) >>> 2) !== 0) this.kick(id);
    }
  }

  /** Point the vCPU at the 64-bit word of pending bits that `port` is in. */
  private select(vcpu: number, port: number): void {
    const info = this.infoAddress(vcpu);
    const index = (info + VcpuInfo.evtchn_pending_sel.offset + (port >= 2048 ? 4 : 0)) >>> 2;
    const bit = 1 << ((port >>> 6) & 31);
    if (Atomics.or(this.i32, index, bit) & bit) return;
    Atomics.store(this.memory.u8, info + VcpuInfo.evtchn_upcall_pending.offset, 1);
    this.kick(vcpu);
  }

  /** EVTCHNOP_unmask (pv-abi 6.3). */
  unmask(port: number): number {
    if (port >= EVTCHN_PORTS) return -Errno.EINVAL;
    const bit = 1 << (port & 31);
    const before = Atomics.and(this.i32, this.bitmapWord(SHARED_INFO_ARRAYS.evtchn_mask, port), ~bit);
    if (before & bit && this.isPending(port)) this.select(this.word(port, PORT.vcpu), port);
    return 0;
  }

  /** Deliver virtual interrupt `virq` to the vCPU; false when nobody is bound to it. */
  raiseVirq(vcpu: number, virq: number): boolean {
    const port = Atomics.load(this.i32, this.virqIndex(vcpu, virq));
    if (port === 0) return false;
    this.setPending(port);
    return true;
  }

  // --- The port table -------------------------------------------------------------------------------------------------

  private portIndex(port: number): number {
    return (CONTROL.ports >>> 2) + port * PORT.words;
  }

  private word(port: number, word: number): number {
    return Atomics.load(this.i32, this.portIndex(port) + word);
  }

  private virqIndex(vcpu: number, virq: number): number {
    return (controlVcpu(VIRQ_PER_VCPU.has(virq) ? vcpu : 0, CONTROL_VCPU.virqPorts) >>> 2) + virq;
  }

  private setPort(port: number, status: number, vcpu: number, peer: number, peerPort: number): void {
    const index = this.portIndex(port);
    Atomics.store(this.i32, index + PORT.vcpu, vcpu);
    Atomics.store(this.i32, index + PORT.peer, peer);
    Atomics.store(this.i32, index + PORT.peerPort, peerPort);
    Atomics.store(this.i32, index + PORT.status, status);
  }

  /** The lowest free port, or -ENOSPC. */
  private freePort(): number {
    for (let port = 1; port < EVTCHN_PORTS; port++) {
      if (this.word(port, PORT.status) === EVTCHNSTAT.closed) return port;
    }
    return -Errno.ENOSPC;
  }

  private open(status: number, vcpu: number, peer: number, peerPort: number): number {
    const port = this.freePort();
    if (port > 0) this.setPort(port, status, vcpu, peer, peerPort);
    return port;
  }

  /** What a port is bound to; undefined when there is no such port. */
  status(port: number): PortStatus | undefined {
    if (port >= EVTCHN_PORTS) return undefined;
    return this.lock.with(() => ({
      status: this.word(port, PORT.status),
      vcpu: this.word(port, PORT.vcpu),
      peer: this.word(port, PORT.peer),
      peerPort: this.word(port, PORT.peerPort),
    }));
  }

  private isSelf(domid: number): boolean {
    return domid === DOMID.self || domid === this.domid;
  }

  /** A new port that `remote` may bind to. */
  allocUnbound(remote: number): number {
    const peer = this.isSelf(remote) ? this.domid : remote;
    return this.lock.with(() => this.open(EVTCHNSTAT.unbound, 0, peer, 0));
  }

  /** A new port bound to an unbound port of `remote`. Only a domain's own ports can be bound so: backends bind from outside. */
  bindInterdomain(remote: number, remotePort: number): number {
    if (!this.isSelf(remote)) return remote === DOMID.dom0 ? -Errno.EINVAL : -Errno.ESRCH;
    if (remotePort >= EVTCHN_PORTS) return -Errno.EINVAL;
    const port = this.lock.with(() => {
      const unbound = this.word(remotePort, PORT.status) === EVTCHNSTAT.unbound;
      if (!unbound || this.word(remotePort, PORT.peer) !== this.domid) return -Errno.EINVAL;
      const local = this.open(EVTCHNSTAT.interdomain, 0, this.domid, remotePort);
      if (local > 0)
        this.setPort(remotePort, EVTCHNSTAT.interdomain, this.word(remotePort, PORT.vcpu), this.domid, local);
      return local;
    });
    if (port > 0) this.setPending(port);
    return port;
  }

  bindVirq(virq: number, vcpu: number): number {
    if (virq >= NR_VIRQS) return -Errno.EINVAL;
    if (!VIRQ_PER_VCPU.has(virq) && vcpu !== 0) return -Errno.EINVAL;
    if (vcpu >= this.memory.layout.vcpus) return -Errno.ENOENT;
    return this.lock.with(() => {
      const index = this.virqIndex(vcpu, virq);
      if (Atomics.load(this.i32, index) !== 0) return -Errno.EEXIST;
      const port = this.open(EVTCHNSTAT.virq, vcpu, virq, 0);
      if (port > 0) Atomics.store(this.i32, index, port);
      return port;
    });
  }

  bindIpi(vcpu: number): number {
    if (vcpu >= this.memory.layout.vcpus) return -Errno.ENOENT;
    return this.lock.with(() => this.open(EVTCHNSTAT.ipi, vcpu, 0, 0));
  }

  bindVcpu(port: number, vcpu: number): number {
    if (vcpu >= this.memory.layout.vcpus) return -Errno.ENOENT;
    if (port >= EVTCHN_PORTS) return -Errno.EINVAL;
    return this.lock.with(() => {
      const status = this.word(port, PORT.status);
      const globalVirq = status === EVTCHNSTAT.virq && !VIRQ_PER_VCPU.has(this.word(port, PORT.peer));
      if (status !== EVTCHNSTAT.unbound && status !== EVTCHNSTAT.interdomain && !globalVirq) return -Errno.EINVAL;
      Atomics.store(this.i32, this.portIndex(port) + PORT.vcpu, vcpu);
      return 0;
    });
  }

  close(port: number): number {
    if (port >= EVTCHN_PORTS) return -Errno.EINVAL;
    return this.lock.with(() => {
      const status = this.word(port, PORT.status);
      if (status === EVTCHNSTAT.closed) return -Errno.EINVAL;
      const peer = this.word(port, PORT.peer);
      if (status === EVTCHNSTAT.virq) Atomics.store(this.i32, this.virqIndex(this.word(port, PORT.vcpu), peer), 0);
      if (status === EVTCHNSTAT.interdomain && peer === this.domid) {
        const other = this.word(port, PORT.peerPort);
        this.setPort(other, EVTCHNSTAT.unbound, this.word(other, PORT.vcpu), this.domid, 0);
      }
      this.setPort(port, EVTCHNSTAT.closed, 0, 0, 0);
      // What was pending must not reach whoever gets this number next.
      const bit = 1 << (port & 31);
      Atomics.and(this.i32, this.bitmapWord(SHARED_INFO_ARRAYS.evtchn_pending, port), ~bit);
      Atomics.and(this.i32, (CONTROL.backendPending >>> 2) + (port >>> 5), ~bit);
      return 0;
    });
  }

  /** Close every port: EVTCHNOP_reset, and the fresh table of a resumed domain. */
  reset(): void {
    for (let port = 1; port < EVTCHN_PORTS; port++) this.close(port);
  }

  /** EVTCHNOP_send. */
  send(port: number): number {
    if (port >= EVTCHN_PORTS) return -Errno.EINVAL;
    switch (this.word(port, PORT.status)) {
      case EVTCHNSTAT.interdomain:
        if (this.word(port, PORT.peer) === DOMID.dom0) this.signalBackend(port);
        else this.setPending(this.word(port, PORT.peerPort));
        return 0;
      case EVTCHNSTAT.ipi:
        this.setPending(port);
        return 0;
      case EVTCHNSTAT.unbound:
        return 0;
      default:
        return -Errno.EINVAL;
    }
  }

  // --- Domain 0's side ------------------------------------------------------------------------------------------------

  private signalBackend(port: number): void {
    const bit = 1 << (port & 31);
    // When the bit was set already, the device thread has been woken and has not looked yet.
    if (Atomics.or(this.i32, (CONTROL.backendPending >>> 2) + (port >>> 5), bit) & bit) return;
    Atomics.add(this.i32, CONTROL.backendWake >>> 2, 1);
    Atomics.notify(this.i32, CONTROL.backendWake >>> 2);
    this.wakeBackend();
  }

  /** Make a port that is bound to domain 0 from the start, for the builder: xenstore's, then the console's. */
  allocForBackend(): number {
    return this.lock.with(() => this.open(EVTCHNSTAT.interdomain, 0, DOMID.dom0, 0));
  }

  /** Bind domain 0 to a port that the guest left unbound for it. A backend is told at once that it may have work. */
  bindBackend(port: number): boolean {
    if (!(port > 0 && port < EVTCHN_PORTS)) return false;
    const bound = this.lock.with(() => {
      if (this.word(port, PORT.status) !== EVTCHNSTAT.unbound || this.word(port, PORT.peer) !== DOMID.dom0)
        return false;
      this.setPort(port, EVTCHNSTAT.interdomain, this.word(port, PORT.vcpu), DOMID.dom0, 0);
      return true;
    });
    if (bound) this.signalBackend(port);
    return bound;
  }

  /** Domain 0 closes its end: the guest's port is unbound again. */
  unbindBackend(port: number): void {
    if (!(port > 0 && port < EVTCHN_PORTS)) return;
    this.lock.with(() => {
      if (!this.boundToBackend(port)) return;
      this.setPort(port, EVTCHNSTAT.unbound, this.word(port, PORT.vcpu), DOMID.dom0, 0);
      Atomics.and(this.i32, (CONTROL.backendPending >>> 2) + (port >>> 5), ~(1 << (port & 31)));
    });
  }

  private boundToBackend(port: number): boolean {
    return this.word(port, PORT.status) === EVTCHNSTAT.interdomain && this.word(port, PORT.peer) === DOMID.dom0;
  }

  /** A backend notifies the guest; false when the guest has closed the port. */
  notifyGuest(port: number): boolean {
    if (!(port > 0 && port < EVTCHN_PORTS) || !this.boundToBackend(port)) return false;
    this.setPending(port);
    return true;
  }

  /** The ports to which the guest has sent since the last call. */
  takePendingForBackend(): number[] {
    const ports: number[] = [];
    const base = CONTROL.backendPending >>> 2;
    for (let word = 0; word < EVTCHN_PORTS / 32; word++) {
      if (Atomics.load(this.i32, base + word) === 0) continue;
      let bits = Atomics.exchange(this.i32, base + word, 0);
      while (bits !== 0) {
        const bit = 31 - Math.clz32(bits & -bits);
        ports.push(word * 32 + bit);
        bits &= bits - 1;
      }
    }
    return ports;
  }
}
