//! `cargo bench -p shearwater --bench ratios`: see `shearwater::bench`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shearwater::bench::main(std::env::args().skip(1).filter(|word| word != "--bench").collect())
}
