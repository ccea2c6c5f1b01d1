/** The domain builder's door. */
export { type BuildOptions, type BuiltDomain, buildDomain } from './build.ts';
export { writeHypercallPage } from './hypercall-page.ts';
export type { KernelFile } from './kernel-file.ts';
export { BuildError, type KernelImage, parseKernel } from './kernel-image.ts';
export { minimumMemoryPages } from './plan.ts';
