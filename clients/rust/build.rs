//! Generates the messages and the stub of the service from its `.proto` files, without a protoc.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    let files = ["agenterra/state/v1/state.proto", "agenterra/state/v1/service.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure()
        .build_server(false)
        // Members in the order of their keys, in every run.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
