//! `cargo bench -p shearwater --bench ratios`: see `shearwater::bench`.

use std::process::ExitCode;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    shearwater::bench::main(std::env::args().skip(1).filter(|word| word != "--bench").collect())
}
