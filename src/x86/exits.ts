/** Why an engine returned to the hypervisor, and the instructions that it leaves to it. */
export const Exit = {
  /** The branch budget (STATE.budget) ran out: look at the clock, then go on. */
  Slice: 0,
  /** STATE.kick was set by another thread. The engine does not clear it. */
  Kick: 1,
  /** SYSCALL: rip is after the instruction; rcx and r11 are untouched. */
  Syscall: 2,
  /**
   * A fault or trap: exitVector, exitErrorCode, cr2 for #PF. rip is at the instruction for faults, behind it for traps
   * (#BP, #OF, #DB single step). Nothing else has changed.
   */
  Exception: 3,
  /** INT n: exitVector is n; rip is after the instruction; exitLength is 2. */
  SoftwareInterrupt: 4,
  /** An instruction for the hypervisor to perform: exitOp names it, rip is AT it, exitLength is its length. */
  Instruction: 5,
  /** `step()` finished its one instruction. */
  Stepped: 6,
} as const;
export type Exit = (typeof Exit)[keyof typeof Exit];

/** Instructions that are the hypervisor's, in STATE.exitOp. Names are the manuals'. */
// biome-ignore format: a table
export const PRIVILEGED = [
  'cpuid', 'rdmsr', 'wrmsr', 'in', 'out', 'ins', 'outs', 'hlt', 'cli', 'sti', 'iret', 'clts', 'lmsw', 'smsw',
  'mov_from_cr', 'mov_to_cr', 'mov_from_dr', 'mov_to_dr', 'lgdt', 'lidt', 'sgdt', 'sidt', 'sldt', 'lldt', 'str', 'ltr',
  'invlpg', 'invd', 'wbinvd', 'swapgs', 'sysret', 'sysexit', 'sysenter', 'rdpmc', 'rsm', 'monitor', 'mwait', 'xsetbv', 'xgetbv',
  'lar', 'lsl', 'verr', 'verw', 'mov_to_seg', 'pop_seg', 'far_call', 'far_jmp', 'far_ret', 'lss', 'lfs', 'lgs',
  'ud2', 'rdfsbase', 'rdgsbase', 'wrfsbase', 'wrgsbase', 'vmcall', 'clac', 'stac', 'invpcid', 'icebp',
] as const;
export type Privileged = (typeof PRIVILEGED)[number];
