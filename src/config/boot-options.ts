/**
 * Kernel options that Domus puts in front of the guest's kernel line, with the reason for each. A configuration turns them
 * off, or sets others, with `domus_boot_options = "..."`. Options only: a guest boots without them, just less well.
 */
// biome-ignore format: a table
export const BOOT_OPTIONS = [
  { option: 'cryptomgr.notests', reason: 'self-tests of every cipher cost seconds of a software CPU at each boot and prove nothing here' },
  { option: 'initcall_blacklist=crypto_kdf108_init', reason: 'one more self-test, and nothing else: it looks for a module in the initramfs on the way, twice' },
  { option: 'tsc=reliable',      reason: 'the TSC is the monitor\'s own clock: watching it for drift only wakes an idle guest' },
  { option: 'nr_cpus=VCPUS',     reason: 'the kernel is built for 8192 CPUs and asks for each of them whether it is up, one hypercall a CPU' },
  { option: 'noreplace-smp',     reason: 'on one CPU Linux patches its 9,000 LOCK prefixes away, each in an address space of its own: most of a second, to save nanoseconds' },
  { option: 'sysctl.vm.compaction_proactiveness=0', reason: 'kcompactd wakes an idle guest twice a second to look how fragmented its memory is; huge pages do not exist here' },
  { option: 'psi=0',             reason: 'averages of pressure that next to nobody reads (/proc/pressure) wake an idle guest every two seconds. With them: domus_boot_options = "psi=1" and whichever of these are wanted' },
  { option: 'initcall_blacklist=tracer_init_tracefs,slab_sysfs_init', reason: '20,000 files for tracing and statistics that next to nobody opens: a sixth of the boot and 9 MB of the guest\'s memory. With them: domus_boot_options = ""' },
] as const;

/** VCPUS stands for the number of the domain's CPUs. */
export const defaultBootOptions = (vcpus: number): string =>
  BOOT_OPTIONS.map(({ option }) => option.replace('VCPUS', String(vcpus))).join(' ');
