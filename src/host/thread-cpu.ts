/** Processor time of the thread that asks: what it does is measured so where other load on the machine shall not count. */

/** Milliseconds, to some microseconds. It takes two of them. */
export function threadCpuMs(): number {
  // Linux brings a thread's time up to date at ticks, which are 4 ms apart, and for whoever asks for the whole process.
  process.cpuUsage();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
