//! AWS credentials and region, found as every AWS tool finds them.
//!
//! The chain is the SDK's: environment, profile (with its SSO, processes and
//! source profiles), web identity (IRSA), ECS and EKS Pod Identity, IMDSv2; keys
//! given in the configuration come before it and a role to assume after it.

pub mod sign;

use aws_config::{BehaviorVersion, Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::{
    Credentials,
    provider::{
        ProvideCredentials, SharedCredentialsProvider, error::CredentialsError,
        future::ProvideCredentials as Provided,
    },
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

use mesh_model::config::Secret;

/// What a configuration says of AWS, all of it optional.
#[derive(Clone, Debug, Default)]
pub struct AwsOptions {
    /// Region; from the environment, the profile or IMDS unless given.
    pub region: Option<String>,
    /// Static access key and secret key.
    pub keys: Option<(String, Secret)>,
    /// Named profile.
    pub profile: Option<String>,
    /// Role to assume with the credentials found.
    pub role_arn: Option<String>,
    /// External id of that role.
    pub external_id: Option<String>,
    /// Use the FIPS endpoint of STS.
    pub use_fips_sts: bool,
}

/// What the chain found.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The region, where anything told it.
    pub region: Option<String>,
    /// Where credentials come from. Each call asks the source anew.
    pub credentials: SharedCredentialsProvider,
}

/// The chain, set up anew for every call: the SDK's own reads the profile's files
/// once and then keeps what they said, so keys rotated in a mounted file would
/// never be seen.
#[derive(Debug)]
struct Chain(AwsOptions);

/// The name our sessions have in CloudTrail.
const SESSION_NAME: &str = "promesh";

// === impl AwsOptions ===

impl AwsOptions {
    /// Finds the region, right away. Credentials are asked for only once they are
    /// needed.
    pub async fn resolve(&self) -> Aws {
        let mut chain = Chain(self.clone());
        // IMDS need not be asked for what is given, nor for what it has said.
        if chain.0.region.is_none() {
            chain.0.region = chain.load().await.region().map(ToString::to_string);
        }
        Aws {
            region: chain.0.region.clone(),
            credentials: SharedCredentialsProvider::new(chain),
        }
    }
}

// === impl Chain ===

impl Chain {
    async fn load(&self) -> SdkConfig {
        let options = &self.0;
        // The process has one TLS stack; the chain's default would bring another.
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client)
            .use_fips(options.use_fips_sts);
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some((access_key, secret_key)) = &options.keys {
            let keys =
                Credentials::new(access_key, secret_key.expose(), None, None, "configuration");
            loader = loader.credentials_provider(keys);
        }
        loader.load().await
    }

    async fn ask(&self) -> Result<Credentials, CredentialsError> {
        let config = self.load().await;
        let found = config.credentials_provider();
        let found = found.expect("a loaded configuration always has a provider");
        let Some(role) = &self.0.role_arn else {
            return found.provide_credentials().await;
        };
        let mut assumed = AssumeRoleProvider::builder(role)
            .session_name(SESSION_NAME)
            .configure(&config);
        if let Some(external_id) = &self.0.external_id {
            assumed = assumed.external_id(external_id);
        }
        let assumed = assumed.build_from_provider(found).await;
        assumed.provide_credentials().await
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.ask())
    }
}
