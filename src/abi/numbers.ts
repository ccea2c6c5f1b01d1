/**
 * Numbers of Xen's guest ABI: hypercalls, their sub-operations, virtual interrupts, flags. Names are the public headers'
 * without their prefixes. Layouts are in the struct files beside this one. Follows pv-abi 1.8, 2, 6 and 8.
 */

/** Hypercall numbers. public/xen.h. */
// biome-ignore format: a table
export const HYPERCALL = {
  set_trap_table: 0,        mmu_update: 1,          set_gdt: 2,             stack_switch: 3,
  set_callbacks: 4,         fpu_taskswitch: 5,      sched_op_compat: 6,     platform_op: 7,
  set_debugreg: 8,          get_debugreg: 9,        update_descriptor: 10,  memory_op: 12,
  multicall: 13,            update_va_mapping: 14,  set_timer_op: 15,       event_channel_op_compat: 16,
  xen_version: 17,          console_io: 18,         physdev_op_compat: 19,  grant_table_op: 20,
  vm_assist: 21,            update_va_mapping_otherdomain: 22,              iret: 23,
  vcpu_op: 24,              set_segment_base: 25,   mmuext_op: 26,          xsm_op: 27,
  nmi_op: 28,               sched_op: 29,           callback_op: 30,        xenoprof_op: 31,
  event_channel_op: 32,     physdev_op: 33,         hvm_op: 34,             sysctl: 35,
  domctl: 36,               kexec_op: 37,           tmem_op: 38,            argo_op: 39,
  xenpmu_op: 40,            dm_op: 41,              hypfs_op: 42,
} as const;
export const HYPERCALL_STUBS = 128;

/** Domain ids with a meaning of their own; ordinary ones are below `first_reserved`. */
export const DOMID = {
  dom0: 0,
  first_reserved: 0x7ff0,
  self: 0x7ff0,
  io: 0x7ff1,
  xen: 0x7ff2,
  invalid: 0x7ff4,
} as const;

/** Virtual interrupts. `TIMER`, `DEBUG`, `XENOPROF` and `XENPMU` are per vCPU, the others are bound to vCPU 0. */
// biome-ignore format: a table
export const VIRQ = {
  TIMER: 0, DEBUG: 1, CONSOLE: 2, DOM_EXC: 3, TBUF: 4, DEBUGGER: 6, XENOPROF: 7, CON_RING: 8, PCPU_STATE: 9,
  MEM_EVENT: 10, ARGO: 11, ENOMEM: 12, XENPMU: 13,
} as const;
export const NR_VIRQS = 24;
export const VIRQ_PER_VCPU: ReadonlySet<number> = new Set([VIRQ.TIMER, VIRQ.DEBUG, VIRQ.XENOPROF, VIRQ.XENPMU]);

/** memory_op, pv-abi 2.6. */
// biome-ignore format: a table
export const XENMEM = {
  increase_reservation: 0, decrease_reservation: 1, maximum_ram_page: 2, current_reservation: 3, maximum_reservation: 4,
  populate_physmap: 6, add_to_physmap: 7, memory_map: 9, exchange: 11, machphys_mapping: 12, maximum_gpfn: 14,
  remove_from_physmap: 15, add_to_physmap_batch: 23,
} as const;

/** xen_version, pv-abi 2.9. */
// biome-ignore format: a table
export const XENVER = {
  version: 0, extraversion: 1, compile_info: 2, capabilities: 3, changeset: 4, platform_parameters: 5, get_features: 6,
  pagesize: 7, guest_handle: 8, commandline: 9, build_id: 10,
} as const;
/** Bit numbers of XENVER_get_features submap 0. */
// biome-ignore format: a table
export const XENFEAT = {
  writable_page_tables: 0, writable_descriptor_tables: 1, auto_translated_physmap: 2, supervisor_mode_kernel: 3,
  pae_pgdir_above_4gb: 4, mmu_pt_update_preserve_ad: 5, highmem_assist: 6, gnttab_map_avail_bits: 7,
  hvm_callback_vector: 8, hvm_safe_pvclock: 9, hvm_pirqs: 10, dom0: 11, memory_op_vnode_supported: 13,
  ARM_SMCCC_supported: 14, linux_rsdp_unrestricted: 15, not_direct_mapped: 16, direct_mapped: 17,
  runstate_phys_area: 18, vcpu_time_phys_area: 19,
} as const;

/** vm_assist types, pv-abi 2.5. */
// biome-ignore format: a table
export const VMASST = {
  four_gb_segments: 0, four_gb_segments_notify: 1, writable_pagetables: 2, pae_extended_cr3: 3, architectural_iopl: 4,
  runstate_update_flag: 5, m2p_strict: 32,
} as const;

/** sched_op and shutdown reasons, pv-abi 2.13. */
// biome-ignore format: a table
export const SCHEDOP = {
  yield: 0, block: 1, shutdown: 2, poll: 3, remote_shutdown: 4, shutdown_code: 5, watchdog: 6, pin_override: 7,
} as const;
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, soft_reset: 5 } as const;

/** vcpu_op, pv-abi 2.12. */
// biome-ignore format: a table
export const VCPUOP = {
  initialise: 0, up: 1, down: 2, is_up: 3, get_runstate_info: 4, register_runstate_memory_area: 5,
  set_periodic_timer: 6, stop_periodic_timer: 7, set_singleshot_timer: 8, stop_singleshot_timer: 9,
  register_vcpu_info: 10, send_nmi: 11, get_physid: 12, register_vcpu_time_memory_area: 13,
  register_runstate_phys_area: 14, register_vcpu_time_phys_area: 15,
} as const;
export const VCPU_SSHOTTMR_future = 1;
export const RUNSTATE = { running: 0, runnable: 1, blocked: 2, offline: 3 } as const;
export const RUNSTATE_UPDATE = 1n << 63n;
/** vcpu_guest_context.flags. */
export const VGCF = {
  i387_valid: 1,
  in_kernel: 4,
  failsafe_disables_events: 8,
  syscall_disables_events: 0x10,
  online: 0x20,
} as const;

/** callback_op, pv-abi 2.14. */
// biome-ignore format: a table
export const CALLBACKTYPE = {
  event: 0, failsafe: 1, syscall: 2, sysenter_deprecated: 3, nmi: 4, sysenter: 5, syscall_deprecated: 6, syscall32: 7,
} as const;
export const CALLBACKOP = { register: 0, unregister: 1 } as const;

/** event_channel_op and port states as EVTCHNOP_status tells them, pv-abi 2.15. */
// biome-ignore format: a table
export const EVTCHNOP = {
  bind_interdomain: 0, bind_virq: 1, bind_pirq: 2, close: 3, send: 4, status: 5, alloc_unbound: 6, bind_ipi: 7,
  bind_vcpu: 8, unmask: 9, reset: 10, init_control: 11, expand_array: 12, set_priority: 13,
} as const;
export const EVTCHNSTAT = { closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 } as const;
/** Ports of the 2-level ABI with 64-bit words. */
export const EVTCHN_PORTS = 4096;

/** grant_table_op, pv-abi 2.10. */
// biome-ignore format: a table
export const GNTTABOP = {
  map_grant_ref: 0, unmap_grant_ref: 1, setup_table: 2, dump_table: 3, transfer: 4, copy: 5, query_size: 6,
  unmap_and_replace: 7, set_version: 8, get_status_frames: 9, get_version: 10, swap_grant_ref: 11, cache_flush: 12,
} as const;
// biome-ignore format: a table
export const GNTST = {
  okay: 0, general_error: -1, bad_domain: -2, bad_gntref: -3, bad_handle: -4, bad_virt_addr: -5, bad_dev_addr: -6,
  no_device_space: -7, permission_denied: -8, bad_page: -9, bad_copy_arg: -10, address_too_big: -11, eagain: -12,
  no_space: -13,
} as const;
export const GNTMAP = { device_map: 1, host_map: 2, readonly: 4, application_map: 8, contains_pte: 16 } as const;
/** Flags word of a version 1 grant entry. */
// biome-ignore format: a table
export const GTF = {
  invalid: 0, permit_access: 1, accept_transfer: 2, transitive: 3, type_mask: 3, readonly: 4, reading: 8, writing: 16,
} as const;
export const GNTCOPY = { source_gref: 1, dest_gref: 2 } as const;
/** References that the builder seeds. */
export const GNTTAB_RESERVED = { console: 0, xenstore: 1 } as const;

/** physdev_op, pv-abi 2.16. */
export const PHYSDEVOP = { set_iopl: 6, set_iobitmap: 7, pirq_eoi_gmfn_v1: 17, pirq_eoi_gmfn_v2: 28 } as const;
export const CONSOLEIO = { write: 0, read: 1 } as const;

/** mmu_update commands and mmuext_op, pv-abi 2.2 and 2.11. */
export const MMU = {
  normal_pt_update: 0,
  machphys_update: 1,
  pt_update_preserve_ad: 2,
  pt_update_no_translate: 3,
} as const;
// biome-ignore format: a table
export const MMUEXT = {
  pin_l1_table: 0, pin_l2_table: 1, pin_l3_table: 2, pin_l4_table: 3, unpin_table: 4, new_baseptr: 5,
  tlb_flush_local: 6, invlpg_local: 7, tlb_flush_multi: 8, invlpg_multi: 9, tlb_flush_all: 10, invlpg_all: 11,
  flush_cache: 12, set_ldt: 13, new_user_baseptr: 15, clear_page: 16, copy_page: 17, flush_cache_global: 18,
  mark_super: 19, unmark_super: 20,
} as const;
/** update_va_mapping flags. */
export const UVMF = { none: 0, tlb_flush: 1, invlpg: 2, flush_type_mask: 3, all: 4 } as const;

/** Page-table entry bits. Intel SDM volume 3, 4.5. */
// biome-ignore format: a table
export const PTE = {
  P: 1, RW: 2, US: 4, PWT: 8, PCD: 0x10, A: 0x20, D: 0x40, PS: 0x80, G: 0x100,
} as const;

/** Segment selectors of the hypervisor's descriptors, pv-abi 1.7. */
export const FLAT = { ring3Cs32: 0xe023, ring3Ss: 0xe02b, ring3Cs64: 0xe033 } as const;
/** Descriptors that a guest may own: those of 14 GDT frames. */
export const GUEST_GDT_ENTRIES = 7168;

/** start_info.flags. */
export const SIF = { privileged: 1, initdomain: 2, multiboot_mod: 4, mod_start_pfn: 8, virt_p2m_4tools: 16 } as const;
/** start_info.magic. */
export const START_INFO_MAGIC = 'xen-3.0-x86_64';

/** The virtual range that belongs to the hypervisor; the machine-to-physical table is at its start. */
export const HYPERVISOR_VIRT_START = 0xffff800000000000n;
export const HYPERVISOR_VIRT_END = 0xffff880000000000n;
/**
 * The same table once more, this far behind: the place that XENMEM_machphys_mapping names. Linux has its physical-to-machine
 * table at the start of vmalloc and reads both at the same index for each page-table entry; two addresses that far apart by
 * a multiple of 2^40 share an entry of the TLB, and each look would throw the other's translation out.
 */
export const MACH2PHYS_SECOND = 0xc0_0000;

/** vcpu_time_info.flags. */
export const PVCLOCK = { tsc_stable: 1, guest_stopped: 2 } as const;

/** vCPUs whose vcpu_info has a place in shared_info. */
export const LEGACY_MAX_VCPUS = 32;

/** E820 types. */
export const E820 = { ram: 1, reserved: 2, acpi: 3, nvs: 4, unusable: 5 } as const;

/** What the credit scheduler gives a domain that asks for nothing: xl-sched-credit. */
export const SCHED_CREDIT = { weight: 256 } as const;
