/** The translator (tier 1): hot code as WebAssembly functions of whole regions. */
export { type DiscoverPorts, discover, LIMITS, type RegionPlan } from './discover.ts';
export { generateRegions, type RegionImports } from './generate.ts';
