/**
 * event_channel_op: the guest's structures in and out; the work is in event-channels.ts. Follows pv-abi 2.15.
 */
import * as abi from '../abi/calls.ts';
import { Errno } from '../abi/errno.ts';
import { DOMID, EVTCHNOP, EVTCHNSTAT } from '../abi/numbers.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import type { GuestCpu } from './ports.ts';

interface Operation {
  readonly size: number;
  /** The structure goes back to the guest when the call succeeds. */
  readonly output?: true;
  /** 0 or a negative errno. */
  run(vcpu: GuestCpu, at: DataView): number;
}

/** Is `domid` the caller? Otherwise the error: a domain may only handle its own ports. */
function own(vcpu: GuestCpu, domid: number): number {
  if (domid === DOMID.self || domid === vcpu.domain.domid) return 0;
  return domid === DOMID.dom0 ? -Errno.EPERM : -Errno.ESRCH;
}

/** Put the number of a new port in its place, and pass an error on. */
function opened(port: number, store: (port: number) => void): number {
  if (port < 0) return port;
  store(port);
  return 0;
}

const OPERATIONS: Record<number, Operation> = {
  [EVTCHNOP.bind_interdomain]: {
    size: abi.EvtchnBindInterdomain.size,
    output: true,
    run: ({ domain }, at) =>
      opened(
        domain.events.bindInterdomain(
          abi.EvtchnBindInterdomain.remote_dom.get(at, 0),
          abi.EvtchnBindInterdomain.remote_port.get(at, 0),
        ),
        (port) => abi.EvtchnBindInterdomain.local_port.set(at, 0, port),
      ),
  },
  [EVTCHNOP.bind_virq]: {
    size: abi.EvtchnBindVirq.size,
    output: true,
    run: ({ domain }, at) =>
      opened(domain.events.bindVirq(abi.EvtchnBindVirq.virq.get(at, 0), abi.EvtchnBindVirq.vcpu.get(at, 0)), (port) =>
        abi.EvtchnBindVirq.port.set(at, 0, port),
      ),
  },
  // No domain here has hardware.
  [EVTCHNOP.bind_pirq]: { size: 12, run: () => -Errno.EPERM },
  [EVTCHNOP.close]: {
    size: abi.EvtchnClose.size,
    run: ({ domain }, at) => domain.events.close(abi.EvtchnClose.port.get(at, 0)),
  },
  [EVTCHNOP.send]: {
    size: abi.EvtchnSend.size,
    run: ({ domain }, at) => domain.events.send(abi.EvtchnSend.port.get(at, 0)),
  },
  [EVTCHNOP.status]: { size: abi.EvtchnStatus.size, output: true, run: status },
  [EVTCHNOP.alloc_unbound]: {
    size: abi.EvtchnAllocUnbound.size,
    output: true,
    run: (vcpu, at) =>
      own(vcpu, abi.EvtchnAllocUnbound.dom.get(at, 0)) ||
      opened(vcpu.domain.events.allocUnbound(abi.EvtchnAllocUnbound.remote_dom.get(at, 0)), (port) =>
        abi.EvtchnAllocUnbound.port.set(at, 0, port),
      ),
  },
  [EVTCHNOP.bind_ipi]: {
    size: abi.EvtchnBindIpi.size,
    output: true,
    run: ({ domain }, at) =>
      opened(domain.events.bindIpi(abi.EvtchnBindIpi.vcpu.get(at, 0)), (port) =>
        abi.EvtchnBindIpi.port.set(at, 0, port),
      ),
  },
  [EVTCHNOP.bind_vcpu]: {
    size: abi.EvtchnBindVcpu.size,
    run: ({ domain }, at) =>
      domain.events.bindVcpu(abi.EvtchnBindVcpu.port.get(at, 0), abi.EvtchnBindVcpu.vcpu.get(at, 0)),
  },
  [EVTCHNOP.unmask]: {
    size: abi.EvtchnUnmask.size,
    run: ({ domain }, at) => domain.events.unmask(abi.EvtchnUnmask.port.get(at, 0)),
  },
  [EVTCHNOP.reset]: {
    size: abi.EvtchnReset.size,
    run(vcpu, at) {
      const error = own(vcpu, abi.EvtchnReset.dom.get(at, 0));
      if (error === 0) vcpu.domain.events.reset();
      return error;
    },
  },
};

function status(vcpu: GuestCpu, at: DataView): number {
  const { EvtchnStatus } = abi;
  const error = own(vcpu, EvtchnStatus.dom.get(at, 0));
  if (error !== 0) return error;
  const found = vcpu.domain.events.status(EvtchnStatus.port.get(at, 0));
  if (found === undefined) return -Errno.EINVAL;
  EvtchnStatus.status.set(at, 0, found.status);
  EvtchnStatus.vcpu.set(at, 0, found.vcpu);
  at.setBigUint64(16, 0n, true);
  if (found.status === EVTCHNSTAT.virq) EvtchnStatus.union_virq.set(at, 0, found.peer);
  if (found.status === EVTCHNSTAT.unbound || found.status === EVTCHNSTAT.interdomain) {
    EvtchnStatus.union_dom.set(at, 0, found.peer);
    EvtchnStatus.union_port.set(at, 0, found.peerPort);
  }
  return 0;
}

/** Hypercall 32. The FIFO operations are -ENOSYS, which makes guests use the 2-level ABI. */
export function eventChannelOp(vcpu: GuestCpu, args: HypercallArgs): number {
  const operation = OPERATIONS[args.lo(0)];
  if (operation === undefined) return -Errno.ENOSYS;
  const bytes = vcpu.readGuest(args.u64(1), operation.size);
  if (bytes === undefined) return -Errno.EFAULT;
  const result = operation.run(vcpu, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (result < 0) return result;
  // send and unmask come by the thousand: they hand nothing back, so nothing is written.
  if (operation.output && !vcpu.writeGuest(args.u64(1), bytes)) return -Errno.EFAULT;
  return 0;
}
