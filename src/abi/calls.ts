/**
 * Argument structures of hypercalls. Layouts: the public headers of each call; pv-abi 2.
 */
import { struct, u8, u16, u32, u64 } from './struct.ts';

export const TrapInfo = struct('trap_info', 16, { vector: u8(0), flags: u8(1), cs: u16(2), address: u64(8) });
export const MmuUpdate = struct('mmu_update', 16, { ptr: u64(0), val: u64(8) });
export const MmuextOp = struct('mmuext_op', 24, { cmd: u32(0), arg1: u64(8), arg2: u64(16) });
/** `args` is six 64-bit words at 0x10. */
export const MulticallEntry = struct('multicall_entry', 64, { op: u64(0), result: u64(8), args: u64(0x10) });

export const MemoryReservation = struct('xen_memory_reservation', 32, {
  extent_start: u64(0),
  nr_extents: u64(8),
  extent_order: u32(0x10),
  mem_flags: u32(0x14),
  domid: u16(0x18),
});
export const MemoryMap = struct('xen_memory_map', 16, { nr_entries: u32(0), buffer: u64(8) });
export const MachphysMapping = struct('xen_machphys_mapping', 24, {
  v_start: u64(0),
  v_end: u64(8),
  max_mfn: u64(0x10),
});

export const SchedPoll = struct('sched_poll', 24, { ports: u64(0), nr_ports: u32(8), timeout: u64(0x10) });
export const SchedWatchdog = struct('sched_watchdog', 8, { id: u32(0), timeout: u32(4) });

export const VcpuSetSingleshotTimer = struct('vcpu_set_singleshot_timer', 16, {
  timeout_abs_ns: u64(0),
  flags: u32(8),
});
export const VcpuRegisterInfo = struct('vcpu_register_vcpu_info', 16, { mfn: u64(0), offset: u32(8) });

export const EvtchnBindInterdomain = struct('evtchn_bind_interdomain', 12, {
  remote_dom: u16(0),
  remote_port: u32(4),
  local_port: u32(8),
});
export const EvtchnBindVirq = struct('evtchn_bind_virq', 12, { virq: u32(0), vcpu: u32(4), port: u32(8) });
export const EvtchnClose = struct('evtchn_close', 4, { port: u32(0) });
export const EvtchnSend = struct('evtchn_send', 4, { port: u32(0) });
export const EvtchnUnmask = struct('evtchn_unmask', 4, { port: u32(0) });
/** The union: `dom` for unbound; `dom`, `remote_port` for interdomain; `virq` for a virq. */
export const EvtchnStatus = struct('evtchn_status', 24, {
  dom: u16(0),
  port: u32(4),
  status: u32(8),
  vcpu: u32(12),
  union_dom: u16(16),
  union_virq: u32(16),
  union_port: u32(20),
});
export const EvtchnAllocUnbound = struct('evtchn_alloc_unbound', 8, { dom: u16(0), remote_dom: u16(2), port: u32(4) });
export const EvtchnBindIpi = struct('evtchn_bind_ipi', 8, { vcpu: u32(0), port: u32(4) });
export const EvtchnBindVcpu = struct('evtchn_bind_vcpu', 8, { port: u32(0), vcpu: u32(4) });
export const EvtchnReset = struct('evtchn_reset', 2, { dom: u16(0) });

export const CallbackRegister = struct('callback_register', 16, { type: u16(0), flags: u16(2), address: u64(8) });
