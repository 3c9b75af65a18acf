//! placeholder
#[derive(clap::Args)]
pub struct E2eArgs {}
pub fn run(_: &E2eArgs) -> Result<(), String> {
    Ok(())
}
